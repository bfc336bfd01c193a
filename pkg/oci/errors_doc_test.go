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

// TestErrorsDocIsCurrent compares docs/errors.md with oci.Codes.
func TestErrorsDocIsCurrent(t *testing.T) {
	gendoc.Check(t, "../../docs/errors.md", errorsDoc(), *update, "run make generate")
}

var update = flag.Bool("update", false, "write docs/errors.md")

func errorsDoc() []byte {
	var b bytes.Buffer
	b.WriteString("# Error codes\n\n<!-- Generated from pkg/oci by make generate. -->\n\n" +
		"An error answer is JSON: `{\"errors\":[{\"code\",\"message\",\"detail\"}]}`. The first error decides\n" +
		"the status. The message says how to correct the request; the cause of a fault of the registry is in\n" +
		"the log, under the `X-Request-Id` of the answer.\n\n" +
		"| code | status | from | meaning |\n| --- | --- | --- | --- |\n")
	for _, d := range oci.Codes() {
		from := "distribution"
		if d.Spec {
			from = "OCI spec"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", d.Code, d.Status, from, d.Meaning)
	}
	b.WriteString("\nSome codes also have other statuses:\n\n" +
		"- `SIZE_INVALID` 413: a manifest, or another body, is too large.\n" +
		"- `TAG_INVALID` 414: one push sets too many tags.\n" +
		"- `UNSUPPORTED` 404: the API has no such path, or the registry takes no direct uploads.\n" +
		"- `BLOB_UPLOAD_INVALID` 408: the client stopped sending.\n" +
		"- `UNAVAILABLE` 507, without `Retry-After`: the disk of the embedded store is full. Clients retry a\n" +
		"  503, and a full disk stays full.\n")
	return b.Bytes()
}
