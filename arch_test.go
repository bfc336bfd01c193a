// Package pierless holds the tests of the repository's structure.
package pierless

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/sources"
)

const (
	module        = "github.com/pierless/pierless/"
	cloudInternal = "localstack/cloud/internal/"
)

// arrows says which packages of ours each package may import. A package that is
// not here fails the test: adding one is a decision.
var arrows = map[string][]string{
	"pkg/oci":                   {},
	"internal/env":              {},
	"internal/awsclient":        {},
	"internal/awsenv":           {"internal/awsclient"},
	"internal/setup":            {"internal/env", "pkg/access", "pkg/registry", "pkg/server", "pkg/server/auth"},
	"internal/awsinit":          {},
	"internal/calls":            {},
	"pkg/server/lambdahttp":     {},
	"pkg/oci/route":             {"pkg/oci"},
	"pkg/oci/direct":            {"pkg/oci"},
	"pkg/oci/upload":            {"pkg/oci"},
	"pkg/registry":              {"pkg/oci/direct", "pkg/oci", "pkg/oci/upload"},
	"pkg/access":                {"pkg/oci", "pkg/oci/route", "pkg/registry"},
	"pkg/access/proof":          {"pkg/access", "pkg/oci"},
	"internal/faultproxy":       {},
	"internal/prooftest":        {},
	"pkg/registry/registrytest": {"pkg/oci/direct", "pkg/oci", "pkg/registry"},
	"pkg/server":                {"pkg/access", "pkg/server/auth", "pkg/oci/direct", "internal/idle", "pkg/oci", "pkg/registry", "pkg/oci/route", "pkg/oci/upload"},
	"pkg/server/auth":           {"pkg/access", "pkg/oci", "pkg/oci/route"},
	"pkg/registry/local":        {"pkg/oci/direct", "pkg/oci", "pkg/registry"},
	"pkg/registry/s3blobs":      {"internal/awsclient", "pkg/oci/direct", "pkg/oci", "pkg/registry"},
	"pkg/registry/ddbmeta":      {"internal/awsclient", "pkg/registry"},
	"internal/storetest":        {"internal/awsenv", "internal/awsinit", "pkg/registry/ddbmeta", "pkg/oci/direct", "pkg/registry/local", "pkg/oci", "pkg/registry", "pkg/registry/s3blobs"},
	"pkg/client":                {"pkg/oci/direct", "pkg/oci", "pkg/oci/route"},
	"pkg/client/images":         {"internal/atomicfile", "pkg/client", "pkg/oci"},
	"pkg/client/login":          {"internal/atomicfile", "pkg/access", "pkg/client", "pkg/oci/route"},
	"internal/atomicfile":       {},
	"internal/awsproof":         {},
	"internal/guard":            {"pkg/client"},
	"internal/idle":             {"pkg/oci"},
	"pkg/client/proxy":          {"pkg/client", "pkg/oci/direct", "internal/guard", "internal/idle", "pkg/oci", "pkg/oci/route", "pkg/oci/upload"},
	"pkg/verify":                {"pkg/oci"},
	"pkg/verify/doctor":         {"pkg/oci/direct", "pkg/oci", "pkg/verify"},
	"pkg/registry/sweep":        {"pkg/registry"},
	"internal/gendoc":           {},
	"internal/loopback":         {},
	"internal/sources":          {},
	"internal/template":         {},
	"internal/tmpfs":            {},
	"functions/internal/start": {
		"internal/awsclient", "pkg/registry/ddbmeta", "internal/env", "internal/setup", "pkg/server/lambdahttp", "pkg/oci", "pkg/registry", "pkg/registry/s3blobs", "pkg/server", "pkg/registry/sweep",
	},
	"functions/access":           {"functions/internal/start", "pkg/access/proof", "pkg/registry", "pkg/server"},
	"functions/base":             {"functions/internal/start", "pkg/server"},
	"functions/blobs":            {"functions/internal/start", "pkg/server"},
	"functions/manifests":        {"functions/internal/start", "pkg/server"},
	"functions/referrers":        {"functions/internal/start", "pkg/server"},
	"functions/tags":             {"functions/internal/start", "pkg/server"},
	"functions/uploads":          {"functions/internal/start", "pkg/server"},
	"functions/direct":           {"functions/internal/start", "pkg/server"},
	"functions/verifications":    {"functions/internal/start", "pkg/server"},
	"functions/sweep":            {"functions/internal/start"},
	"localstack/coldstart":       {"pkg/access"},
	"localstack/coldstart/hello": {},
	"localstack/deployproxy":     {},
	"localstack/leftovers":       {"internal/awsenv", "pkg/registry/sweep", "pkg/registry/ddbmeta", "pkg/registry/local", "pkg/registry", "pkg/registry/s3blobs"},
	// The local cloud knows nothing of registries: what is deployed is all it has.
	"localstack/cloud": {
		cloudInternal + "gateway", cloudInternal + "iam", cloudInternal + "lambda", cloudInternal + "policyproxy", cloudInternal + "template",
		"internal/guard",
	},
	cloudInternal + "gateway":     {},
	cloudInternal + "iam":         {},
	cloudInternal + "lambda":      {},
	cloudInternal + "policyproxy": {cloudInternal + "iam"},
	cloudInternal + "template":    {},
	"cmd/pierless": {
		"pkg/access", "pkg/access/proof", "internal/atomicfile", "internal/awsenv", "internal/awsinit", "internal/awsproof", "pkg/client", "pkg/client/login", "pkg/registry/ddbmeta", "pkg/verify/doctor", "internal/env", "internal/guard", "internal/idle", "internal/setup", "pkg/client/images", "pkg/registry/local", "pkg/oci", "pkg/oci/route", "pkg/client/proxy", "pkg/registry",
		"pkg/registry/s3blobs", "pkg/server", "pkg/server/auth", "pkg/registry/sweep", "pkg/verify",
	},
}

type goPackage struct {
	ImportPath, Name, Doc string
	Imports               []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	sources.Track(t, ".")
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,Imports", "./cmd/...", "./functions/...", "./internal/...", "./localstack/...", "./pkg/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsPointOneWay(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s is not in the list of packages and their imports", name)
		}
		seen++
		for _, imported := range p.Imports {
			if ours, found := strings.CutPrefix(imported, module); found && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
		}
	}
	if seen != len(arrows) {
		t.Errorf("%d packages, %d are listed", seen, len(arrows))
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestOnlyEnvReadsTheEnvironment: functions link internal/env, and a variable has one place.
func TestOnlyEnvReadsTheEnvironment(t *testing.T) {
	sources.Track(t, ".")
	out, err := exec.CommandContext(t.Context(), "git", "grep", "-nE", `os\.(Getenv|LookupEnv|Environ)`, "--", "pkg/*.go", "functions/internal/*.go", "localstack/cloud/internal/*.go", ":!*_test.go").Output()
	if len(out) > 0 {
		t.Errorf("the environment is read outside of main: %s", out)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
}
