package verify_test

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/gendoc"
	"github.com/pierless/pierless/pkg/verify"
)

//go:generate go test . -run TestCasesDocIsCurrent -update

var update = flag.Bool("update", false, "write docs/verify-cases.md")

// TestCasesDocIsCurrent holds that docs/verify-cases.md is made from verify.Cases.
func TestCasesDocIsCurrent(t *testing.T) {
	gendoc.Check(t, "../../docs/verify-cases.md", casesDoc(), *update, "run make generate")
}

func casesDoc() []byte {
	var b bytes.Buffer
	cases := verify.Cases()
	fmt.Fprintf(&b, "# The cases of `pierless verify`\n\n<!-- Generated from pkg/verify by make generate. -->\n\n%d cases; [verify.md](verify.md) says how to run them.\n", len(cases))
	for _, g := range verify.Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| case | level | rule | from | breaks |\n| --- | --- | --- | --- | --- |\n", g)
		for _, c := range cases {
			if c.Group != g {
				continue
			}
			from := c.Section
			if u := c.SpecURL(); u != "" {
				from = fmt.Sprintf("[%s](%s)", c.Section, u)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.ID, c.Level, cell(c.Requirement), from, cell(c.Impact))
		}
	}
	return b.Bytes()
}

// cell keeps text inside of a table's cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
