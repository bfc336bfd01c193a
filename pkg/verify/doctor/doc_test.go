package doctor_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/gendoc"
	"github.com/pierless/pierless/pkg/verify/doctor"
)

//go:generate go test . -run TestChecksDocIsCurrent -update

var update = flag.Bool("update", false, "write the table in docs/doctor.md")

// TestChecksDocIsCurrent holds that the table in docs/doctor.md is made from
// doctor.Checks.
func TestChecksDocIsCurrent(t *testing.T) {
	const path = "../../../docs/doctor.md"
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := []byte("by make generate. -->\n"), []byte("<!-- End. -->")
	before, rest, found := bytes.Cut(got, begin)
	_, after, ended := bytes.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	want := bytes.Join([][]byte{before, begin, checksTable(), end, after}, nil)
	gendoc.Check(t, path, want, *update, "run make generate")
}

func checksTable() []byte {
	var b bytes.Buffer
	b.WriteString("\n| check | asks | breaks |\n| --- | --- | --- |\n")
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.ID, strings.ReplaceAll(c.Requirement, "|", `\|`), strings.ReplaceAll(c.Impact, "|", `\|`))
	}
	b.WriteByte('\n')
	return b.Bytes()
}
