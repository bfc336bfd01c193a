package pierless

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/internal/sources"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxBinary limits the size of a function, in bytes, because a cold start reads all of it.
const maxBinary = 12_000_000

// binary is a function as it is deployed.
type binary struct {
	size  int64
	funcs []string // all that the linker kept, by their full names
}

// binaries builds every function as "sam build" does, which takes long: once for all tests.
func binaries(t *testing.T) map[route.Family]binary {
	t.Helper()
	if testing.Short() {
		t.Skip("builds every function for another architecture")
	}
	sources.Track(t, ".")
	all, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var buildOnce = sync.OnceValues(func() (map[route.Family]binary, error) {
	dir, err := os.MkdirTemp("", "functions")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/", "./functions/...")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	all := map[route.Family]binary{}
	for _, f := range functions() {
		if all[f], err = readBinary(filepath.Join(dir, string(f))); err != nil {
			return nil, fmt.Errorf("function %s: %w", f, err)
		}
	}
	return all, nil
})

// readBinary reads the table by which Go prints stack traces: a stripped binary has it, too.
func readBinary(path string) (b binary, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return b, err
	}
	b.size = info.Size()
	file, err := elf.Open(path)
	if err != nil {
		return b, err
	}
	defer file.Close()
	lines, err := file.Section(".gopclntab").Data()
	if err != nil {
		return b, err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, file.Section(".text").Addr))
	if err != nil {
		return b, err
	}
	for _, f := range table.Funcs {
		b.funcs = append(b.funcs, f.Name)
	}
	if !b.links("main.main") {
		return b, fmt.Errorf("no main.main among %d functions of the binary", len(b.funcs))
	}
	return b, nil
}

// links reports whether the binary has a function whose name begins with prefix.
func (b binary) links(prefix string) bool {
	return slices.ContainsFunc(b.funcs, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// TestBinaries: each function is small, links the handlers of its family only, the verification of
// proofs only if it serves logins, and no code that stops the linker from removing dead code.
func TestBinaries(t *testing.T) {
	for family, b := range binaries(t) {
		if b.size >= maxBinary {
			t.Errorf("%s has %d bytes, the limit is %d", family, b.size, maxBinary)
		}
		for _, other := range route.Families() {
			// The type with the handlers of a family has its name, but for directUploads.
			if linked := b.links(module + "pkg/server." + string(other)); linked != (other == family) {
				t.Errorf("%s: handlers of %s are linked: %v", family, other, linked)
			}
		}
		for _, prefix := range []string{
			"text/template.", "html/template.", "net/rpc.", "github.com/spf13/", "go.etcd.io/", "github.com/gin-gonic/",
			"github.com/aws/aws-sdk-go-v2/config.", "github.com/aws/aws-sdk-go-v2/service/sts.", module + "pkg/registry/local.",
			// Lists of the whole store, which cost much and need a permission.
			module + "pkg/registry.(*scrubber)", module + "pkg/registry.(*Registry).Scrub", module + "pkg/registry/s3blobs.(*Blobs).ListObjects",
			module + "pkg/registry/ddbmeta.(*Metadata).ScanRows", "github.com/aws/aws-sdk-go-v2/service/s3.(*Client).ListObjectsV2",
			"github.com/aws/aws-sdk-go-v2/service/dynamodb.(*Client).Scan",
		} {
			if b.links(prefix) {
				t.Errorf("%s links %s", family, prefix)
			}
		}
		for _, prefix := range []string{"github.com/coreos/go-oidc/", "github.com/go-jose/", module + "pkg/access/proof."} {
			if b.links(prefix) != (family == route.FamilyAccess) { // the others must stay small
				t.Errorf("%s links %s: %v", family, prefix, b.links(prefix))
			}
		}
		for _, entry := range []string{module + "pkg/server/auth.", module + "pkg/server/lambdahttp.(*Function).Invoke"} {
			if b.links(entry) == (family == sweeper) { // the sweep serves no requests
				t.Errorf("%s links %s: %v", family, entry, b.links(entry))
			}
		}
	}
}
