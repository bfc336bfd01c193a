package route_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/gendoc"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

//go:generate go test . -run TestPathsDocIsCurrent -update

var update = flag.Bool("update", false, "write the paths in docs/request-handling.md")

// request returns a request for an endpoint.
func request(e route.Endpoint) route.Request {
	r := route.Request{Kind: e.Kind}
	if strings.Contains(e.Path, "{name}") {
		r.Name = "a/b"
	}
	switch {
	case strings.HasSuffix(e.Path, "{digest}"):
		r.Digest = dgst
	case strings.HasSuffix(e.Path, "{reference}"):
		r.Reference = oci.Reference{Tag: "latest"}
	case strings.HasSuffix(e.Path, "{id}"):
		r.Upload = longID
	}
	return r
}

// TestEndpoints checks the rows of the table: Parse finds the kind of each path, methods and
// codes are known, and a document describes the endpoint.
func TestEndpoints(t *testing.T) {
	actions := []route.Action{route.Pull, route.Push, route.Delete, route.Admin, route.Manage, route.Known, route.Caller, route.ByID, route.Proof}
	for _, e := range route.Endpoints() {
		want := request(e)
		if got, err := route.Parse(want.Path()); err != nil || got != want {
			t.Errorf("%s: Parse(%q) = %+v, %v; want %+v", e.Kind, want.Path(), got, err, want)
		}
		path := strings.NewReplacer("{name}", want.Name, "{digest}", dgst, "{reference}", "latest", "{id}", longID).Replace(e.Path)
		if path != want.Path() {
			t.Errorf("%s: the path %s differs from the template %s", e.Kind, want.Path(), e.Path)
		}
		if e.Family == "" || len(e.Methods) == 0 || oci.Describe(e.Unknown).Code != e.Unknown {
			t.Errorf("%s is incomplete: %+v", e.Kind, e)
		}
		for _, m := range e.Methods {
			if !slices.Contains(actions, m.Action) || route.API().Needs(e.Kind, m.Name) != m {
				t.Errorf("%s %s needs %q", m.Name, e.Kind, m.Action)
			}
			if strings.HasSuffix(e.Path, "{id}") != (m.Action == route.ByID) {
				t.Errorf("%s %s needs %q: only the paths with an id are permissions", m.Name, e.Kind, m.Action)
			}
		}
		if _, link, found := strings.Cut(strings.TrimSuffix(e.Doc, ")"), "]("); found {
			file, _, _ := strings.Cut(link, "#")
			if _, err := os.Stat("../../../docs/" + file); err != nil {
				t.Errorf("%s: %v", e.Kind, err)
			}
		} else if e.Doc == "" {
			t.Errorf("%s has no documentation", e.Kind)
		}
	}
}

// TestNeedsIsClosed: only callers with credentials get further with a method or a path that
// the table does not have, except on paths that need no permission.
func TestNeedsIsClosed(t *testing.T) {
	for kind, want := range map[route.Kind]route.Action{
		"": route.Known, "other": route.Known, route.Base: route.Known, route.Blob: route.Known, route.TagList: route.Known,
		route.UploadStart: route.Known, route.AccessTokens: route.Known, route.Login: route.Proof, route.Token: route.Caller, route.Upload: route.ByID, route.DirectParts: route.ByID,
	} {
		for _, method := range []string{"OPTIONS", "get", ""} {
			if got := route.API().Needs(kind, method); got.Action != want || got.Challenge {
				t.Errorf("%q %q needs %+v, want %s", kind, method, got, want)
			}
		}
	}
}

// TestPathsDocIsCurrent compares the list in docs/request-handling.md with the table.
func TestPathsDocIsCurrent(t *testing.T) {
	const file, begin, end = "../../../docs/request-handling.md", "<!-- paths: generated from pkg/oci/route by make generate -->\n", "<!-- paths: end -->\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := bytes.Cut(content, []byte(begin))
	_, tail, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		t.Fatalf("%s has no lines %q and %q", file, begin, end)
	}
	gendoc.Check(t, file, slices.Concat(head, []byte(begin), pathsDoc(), []byte(end), tail), *update, "run make generate")
}

func pathsDoc() []byte {
	var b bytes.Buffer
	b.WriteString("\n| path | kind | function | methods and the permission they need | defined in |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range route.Endpoints() {
		methods := make([]string, len(e.Methods))
		for i, m := range e.Methods {
			methods[i] = fmt.Sprintf("%s %s", m.Name, m.Action)
			if m.Challenge {
				methods[i] += "*"
			}
		}
		path := strings.NewReplacer("{", "<", "}", ">").Replace(e.Path)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", path, e.Kind, e.Family, strings.Join(methods, ", "), e.Doc)
	}
	b.WriteString("\n")
	return b.Bytes()
}
