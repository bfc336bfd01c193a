package oci_test

import (
	"bytes"
	"flag"
	"fmt"
	"testing"

	"github.com/pierless/pierless/internal/gendoc"
	"github.com/pierless/pierless/pkg/oci"
)

//go:generate go test . -run TestErrorsDocIsCurrent -update

// TestErrorsDocIsCurrent holds that docs/errors.md is made from oci.Codes.
func TestErrorsDocIsCurrent(t *testing.T) {
	gendoc.Check(t, "../../docs/errors.md", errorsDoc(), *update, "run make generate")
}

var update = flag.Bool("update", false, "write docs/errors.md")

func errorsDoc() []byte {
	var b bytes.Buffer
	b.WriteString("# Error codes\n\n<!-- Generated from pkg/oci by make generate. -->\n\n" +
		"An error answer is JSON: `{\"errors\":[{\"code\",\"message\",\"detail\"}]}`. The first error decides the status.\n" +
		"The message says what to do; the cause of a fault of the registry is in the log, under the answer's `X-Request-Id`.\n\n" +
		"| code | status | from | meaning |\n| --- | --- | --- | --- |\n")
	for _, d := range oci.Codes() {
		from := "distribution"
		if d.Spec {
			from = "OCI spec"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", d.Code, d.Status, from, d.Meaning)
	}
	b.WriteString("\nSome codes come with another status where the spec asks for it: `SIZE_INVALID` with 413 for a manifest, or another body, that is too\n" +
		"large, `TAG_INVALID` with 414 for more tags than one push can set; `UNSUPPORTED` comes with 404 for a path that is no route, and where\n" +
		"the store takes no direct uploads; `BLOB_UPLOAD_INVALID` with 408 if the client stopped sending; `UNAVAILABLE` with 507 and without\n" +
		"`Retry-After` if the disk of the embedded store is full: clients repeat a 503, and a full disk stays full.\n")
	return b.Bytes()
}
