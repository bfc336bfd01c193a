package start_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// TestProofsAreForTheHostOfTheAPI: the host for which a proof must be made is the public host or
// that of the API in the event. A client that sends another Host header gets no token for a proof
// that was made for that host.
func TestProofsAreForTheHostOfTheAPI(t *testing.T) {
	meta, blobs := storetest.Open(t)
	_, sum := access.NewToken()
	for _, c := range []struct{ public, domain, header, want string }{
		{"", "id.execute-api.eu-west-1.amazonaws.com", "id.execute-api.eu-west-1.amazonaws.com", "id.execute-api.eu-west-1.amazonaws.com"},
		{"", "id.execute-api.eu-west-1.amazonaws.com", "evil.example", "id.execute-api.eu-west-1.amazonaws.com"},
		{"", "127.0.0.1", "127.0.0.1:5000", "127.0.0.1:5000"},
		{"registry.example", "id.execute-api.eu-west-1.amazonaws.com", "evil.example", "registry.example"},
	} {
		asked := ""
		f, err := start.New(env.Config{AdminTokenSHA256: sum, PublicHost: c.public}, quiet(), meta, blobs,
			func(reg *registry.Registry, opts server.Options) *server.Server {
				opts.Prove = func(_ context.Context, host string, _ access.Proof) (access.Identity, error) {
					asked = host
					return access.Identity{}, oci.NewError(oci.Denied, "no")
				}
				return server.Access(reg, opts)
			})
		if err != nil {
			t.Fatal(err)
		}
		event, err := json.Marshal(map[string]any{
			"version": "2.0", "rawPath": "/v2/_pierless/login", "headers": map[string]string{"host": c.header}, "body": `{"oidc":"x"}`,
			"requestContext": map[string]any{"domainName": c.domain, "stage": "$default", "http": map[string]string{"method": http.MethodPost}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := f.Invoke(t.Context(), event); err != nil || asked != c.want {
			t.Errorf("%+v: the proof is for %q (%v %s)", c, asked, err, out)
		}
	}
}
