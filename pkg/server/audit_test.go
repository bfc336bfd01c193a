package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// audited is a registry with access control whose log is read line by line.
type audited struct {
	handler http.Handler
	log     bytes.Buffer
	admin   string
}

// newAudited returns a registry that redirects pulls and proves every identity.
func newAudited(t *testing.T) *audited {
	t.Helper()
	a := &audited{}
	meta, blobs := storetest.Open(t)
	logger := slog.New(slog.NewJSONHandler(&a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var sum string
	a.admin, sum = access.NewToken()
	dir := access.NewDirectory(meta, access.Options{Log: logger})
	guard, err := auth.New(sum, dir)
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.New(meta, presigning{blobs}, registry.Options{Log: logger})
	a.handler = server.All(reg, server.Options{
		Log: logger, Directory: dir, Authorize: guard.Authorize,
		Prove: func(context.Context, string, access.Proof) (access.Identity, error) {
			return access.Identity{Issuer: access.IssuerSTS, Subject: "deploy", Claims: map[string]string{"account": "123456789012"}}, nil
		},
	})
	return a
}

// do sends a request and returns the answer and the line in the log.
func (a *audited) do(t *testing.T, method, target, password, body string) (*http.Response, string, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "203.0.113.7:4711"
	r.Header.Set("If-Match", "*")
	switch password {
	case "":
	case "anonymous":
		r.Header.Set("Authorization", "Bearer anonymous")
	default:
		r.SetBasicAuth("x", password)
	}
	w := httptest.NewRecorder()
	before := a.log.Len()
	a.handler.ServeHTTP(w, r)
	text := a.log.String()[before:]
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		t.Fatalf("%s %s logged %q, want one line of JSON: %v", method, target, text, err)
	}
	return w.Result(), w.Body.String(), line
}

// TestAudit: the line of a request says who sent it, from which address, and no secret.
func TestAudit(t *testing.T) {
	a := newAudited(t)
	issue := func(target, password, body string) string {
		t.Helper()
		resp, answer, _ := a.do(t, "POST", target, password, body)
		var issued access.Issued
		if err := json.Unmarshal([]byte(answer), &issued); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s %s", target, resp.Status, answer)
		}
		return issued.Secret
	}
	const tokens = "/v2/_pierless/access/tokens"
	ci := issue(tokens, a.admin, `{"name": "ci", "grants": [{"repositories": ["team/**"], "actions": ["pull", "push"]}]}`)
	gone := issue(tokens, a.admin, `{"name": "gone", "grants": [{"repositories": ["**"], "actions": ["pull"]}]}`)
	a.do(t, "DELETE", tokens+"?name=gone", a.admin, "")
	if resp, answer, _ := a.do(t, "PUT", "/v2/_pierless/access/rules", a.admin, `{"anonymous": ["public/**"], "logins": [{"name": "aws",
		"issuer": "sts.amazonaws.com", "claims": {"account": "123456789012"}, "grants": [{"repositories": ["team/**"], "actions": ["pull"]}]}]}`,
	); resp.StatusCode != http.StatusOK {
		t.Fatalf("set rules: %s", answer)
	}
	const proof = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2lnbmF0dXJl"
	login := issue("/v2/_pierless/login", "", `{"oidc": "`+proof+`"}`)

	digest := string(oci.SHA256.FromBytes([]byte("layer")))
	push, _, _ := a.do(t, "POST", "/v2/team/app/blobs/uploads/?digest="+digest, ci, "layer")
	if push.StatusCode != http.StatusCreated {
		t.Fatalf("push: %s", push.Status)
	}
	open, _, _ := a.do(t, "POST", "/v2/team/app/blobs/uploads/", ci, "")
	upload := open.Header.Get("Location")
	stranger, _ := access.NewToken()
	const blob = "/v2/team/app/blobs/"
	for _, tt := range []struct {
		method, target, password string
		who                      string
		status                   int
		name, reference          string
	}{
		{"GET", "/v2/", a.admin, "admin", 200, "", ""},
		{"GET", "/v2/", ci, "ci", 200, "", ""},
		{"GET", "/v2/", login, "aws:deploy", 200, "", ""},
		{"GET", "/v2/", "", "anonymous", 401, "", ""},
		{"GET", "/v2/", "junk", "", 401, "", ""},
		{"GET", "/v2/", stranger, "", 401, "", ""},
		{"GET", "/v2/", gone, "", 401, "", ""},
		{"GET", blob + digest, ci, "ci", 307, "team/app", digest},
		{"GET", blob + digest, "anonymous", "anonymous", 401, "team/app", digest},
		{"GET", "/v2/public/x/manifests/v1", "anonymous", "anonymous", 404, "public/x", "v1"},
		{"GET", "/v2/other/manifests/v1", ci, "ci", 404, "other", "v1"},
		{"DELETE", blob + digest, ci, "ci", 403, "team/app", digest},
		{"PATCH", upload, "", "id", 202, "team/app", ""},
		{"DELETE", upload, "junk", "id", 204, "team/app", ""},
		{"GET", upload, ci, "id", 404, "team/app", ""},
		{"POST", "/v2/_pierless/login", "", "proof", 400, "", ""},
		{"GET", "/v2/_pierless/token", ci, "ci", 200, "", ""},
		{"GET", "/v2/_pierless/access/tokens", ci, "ci", 403, "", ""},
		{"GET", "/nowhere/" + ci, "", "anonymous", 401, "", ""},
		{"BREW", "/v2/team/app/tags/list", ci, "ci", 405, "team/app", ""},
	} {
		resp, answer, line := a.do(t, tt.method, tt.target, tt.password, "")
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s as %q: %s %s, want %d", tt.method, tt.target, tt.who, resp.Status, answer, tt.status)
		}
		want := map[string]any{
			"msg": "request", "who": tt.who, "ip": "203.0.113.7", "method": tt.method, "status": float64(tt.status), "name": tt.name,
			"id": resp.Header.Get("X-Request-Id"),
		}
		if tt.reference != "" {
			want["reference"] = tt.reference
		}
		for field, value := range want {
			if line[field] != value {
				t.Errorf("%s %s: %s is %v, want %v: %v", tt.method, tt.target, field, line[field], value, line)
			}
		}
	}
	id := regexp.MustCompile(`[^/]+$`).FindString(strings.TrimSuffix(upload, "/"))
	if len(id) < 32 || !strings.Contains(push.Header.Get("Location"), digest) {
		t.Fatalf("the upload is %s", upload)
	}
	for _, name := range []string{"admin", "anonymous", "id", "proof"} {
		if resp, answer, _ := a.do(t, "POST", tokens, a.admin, `{"name": "`+name+`", "grants": [{"repositories": ["a"], "actions": ["pull"]}]}`); resp.StatusCode != 400 {
			t.Errorf("a token may have the name %s, which the log uses for another caller: %s", name, answer)
		}
	}
	for name, secret := range map[string]string{
		"the administrator's token": a.admin, "a token": ci, "a login's token": login, "a revoked token": gone, "an unknown token": stranger,
		"any token": "plr_", "a proof": proof, "the id of an upload": id, "a presigned URL": "store.example", "a header": "Basic ", "a junk password": "junk",
		"a path": "nowhere",
	} {
		if strings.Contains(a.log.String(), secret) {
			t.Errorf("the log has %s: %s", name, a.log.String())
		}
	}
}
