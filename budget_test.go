package pierless

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/sources"
)

// wings bounds the code of each part of the repository, in lines with at least one token
// that is not a comment. Tests do not count, nor do the contract suites and test stores,
// which are tests in files of their own. Raise a bound only with the reason in the commit.
var wings = []struct {
	name  string
	lines int
	dirs  []string // or patterns of files, which the wing of their directory does not count
}{
	{"runs in Lambda", 9_220, []string{
		"functions", "internal/awsclient", "internal/awsenv", "internal/env", "internal/idle", "internal/setup",
		"pkg/oci", "pkg/registry", "pkg/server",
	}},
	{"access", 1_720, []string{"pkg/access"}},
	{"client, images, proxy, command line", 10_970, []string{"cmd", "internal/atomicfile", "internal/awsinit", "internal/awsproof", "internal/guard", "pkg/client"}},
	{"verify and doctor", 7_820, []string{"pkg/verify"}},
	{"local cloud", 3_600, []string{"localstack/cloud"}},
	{"embedded store", 1_000, []string{"pkg/registry/local"}},
	{"scrub", 1_150, []string{ // TestBinaries: no function links it
		"pkg/registry/inventory.go", "pkg/registry/scrub*.go", "pkg/registry/*/list.go", "pkg/registry/*/scan.go",
	}},
}

// suites are test code that several packages share.
var suites = []string{"internal/faultproxy", "internal/prooftest", "internal/storetest", "pkg/registry/registrytest"}

func TestCodeStaysWithinBudget(t *testing.T) {
	sources.Track(t, ".")
	for _, wing := range wings {
		lines := 0
		for _, dir := range wing.dirs {
			roots, err := filepath.Glob(dir)
			if err != nil || len(roots) == 0 {
				t.Fatalf("%s: no such file or directory: %v", dir, err)
			}
			for _, root := range roots {
				lines += codeLines(t, root)
			}
		}
		t.Logf("%s: %d of %d lines", wing.name, lines, wing.lines)
		if lines > wing.lines {
			t.Errorf("%s: %d lines of code, the budget is %d: delete some, or raise it and give the reason in the commit", wing.name, lines, wing.lines)
		}
	}
}

// codeLines counts the lines of the Go files below a directory, without the suites and the
// directories that another wing names.
func codeLines(t *testing.T, root string) (lines int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (entry.Name() == "testdata" || slices.Contains(suites, path) || isWing(path)):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path != root && isWing(path):
			return nil
		}
		source, err := os.ReadFile(path)
		lines += len(tokenLines(source))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func isWing(path string) bool {
	for _, wing := range wings {
		for _, pattern := range wing.dirs {
			if matched, err := filepath.Match(pattern, path); matched && err == nil {
				return true
			}
		}
	}
	return false
}

// tokenLines returns the lines on which a token stands. A raw string has several.
func tokenLines(source []byte) map[int]bool {
	lines := make(map[int]bool)
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, 0)
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return lines
		}
		if tok == token.SEMICOLON && text == "\n" {
			continue // the scanner's own
		}
		for i := range strings.Count(text, "\n") + 1 {
			lines[file.Line(pos)+i] = true
		}
	}
}

func TestTokenLines(t *testing.T) {
	const source = "package p\n\n// Comment.\nvar s = `one\ntwo` // same line\n/* a\nb */ var x = \"\\n\"\n"
	if got := tokenLines([]byte(source)); len(got) != 4 || !got[1] || !got[4] || !got[5] || !got[7] {
		t.Errorf("lines %v, want 1, 4, 5 and 7", got)
	}
}
