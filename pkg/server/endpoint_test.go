package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/server/auth"
)

// TestNewEndpoint adds an endpoint to a copy of the table and a handler. All else follows:
// parsing, the other methods, access control, the log and the routes of API Gateway.
func TestNewEndpoint(t *testing.T) {
	const usage route.Kind = "usage"
	table := route.NewTable(append(route.Endpoints(), route.Endpoint{
		Kind: usage, Family: route.FamilyTags, Path: "/v2/{name}/_pierless/usage",
		Methods: []route.Method{{Name: http.MethodGet, Action: route.Pull}}, Unknown: oci.NameUnknown, Doc: "this test",
	})...)

	meta, _ := storetest.Open(t)
	token, sum := access.NewToken()
	guard, err := auth.New(sum, access.NewDirectory(meta, access.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s := newServer(Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Authorize: guard.Authorize}, handlers{
		usage: {http.MethodGet: func(w http.ResponseWriter, _ *http.Request, req route.Request) error {
			writeJSON(w, http.StatusOK, req.Name)
			return nil
		}},
	})
	s.table = table

	ask := func(method, path, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		if token != "" {
			r.SetBasicAuth("admin", token)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	path := table.Path(route.Request{Kind: usage, Name: "team/app"})
	if w := ask("GET", path, token); w.Code != http.StatusOK || w.Body.String() != `"team/app"` {
		t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "route=usage name=team/app") {
		t.Errorf("logged: %s", &log)
	}
	if w := ask("GET", path, ""); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("without credentials: %d", w.Code)
	}
	if w := ask("PUT", path, token); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
		t.Errorf("PUT: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if w := ask("GET", "/v2/UPPER/_pierless/usage", token); w.Code != http.StatusBadRequest {
		t.Errorf("a malformed name: %d", w.Code)
	}
	if need := table.Needs(usage, "GET"); need.Action != route.Pull {
		t.Errorf("it needs %+v", need)
	}
	want := route.GatewayRoute{Key: "ANY /v2/{n1}/{n2}/_pierless/usage", Family: route.FamilyTags}
	if !slices.Contains(table.GatewayRoutes(), want) {
		t.Errorf("the gateway has no route %+v", want)
	}
}

// TestHandlersMatchTheTable: each method of the table has a handler in its family, and there
// are no others.
func TestHandlersMatchTheTable(t *testing.T) {
	families := Families()
	for _, e := range route.Endpoints() {
		family, found := families[e.Family]
		if !found {
			t.Errorf("%s: the family %s has no constructor in Families", e.Kind, e.Family)
			continue
		}
		have := family(nil, Options{}).handlers[e.Kind]
		for _, m := range e.Methods {
			if have[m.Name] == nil {
				t.Errorf("%s %s has no handler in the family %s", m.Name, e.Kind, e.Family)
			}
		}
		if len(have) != len(e.Methods) {
			t.Errorf("%s has %d handlers for %d methods", e.Kind, len(have), len(e.Methods))
		}
	}
	if want := route.Families(); len(families) != len(want) {
		t.Errorf("%d families, the table has %q", len(families), want)
	}
}

// TestAuthorizeComesFirst: a refused caller does not learn whether a path or a method is
// part of the API, and Admit is not called for it.
func TestAuthorizeComesFirst(t *testing.T) {
	for path, kind := range map[string]route.Kind{"/v2/": route.Base, "/v2/a/tags/list": route.TagList, "/v2/a/nothing": "", "/v2/A/tags/list": ""} {
		released := 0
		s := newServer(Options{
			Log: slog.New(slog.DiscardHandler),
			Authorize: func(_ http.ResponseWriter, r *http.Request, req route.Request, need route.Method) (context.Context, error) {
				if req.Kind != kind || need != route.API().Needs(kind, r.Method) {
					t.Errorf("%s: asked for %+v, %+v", path, req, need)
				}
				if r.Header.Get("Authorization") == "" {
					return nil, oci.NewError(oci.Denied, "no")
				}
				return r.Context(), nil
			},
			Admit: func(*http.Request) (func(), error) { return func() { released++ }, nil },
		}, handlers{})
		r := httptest.NewRequest("PATCH", path, nil)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != http.StatusForbidden || released != 0 {
			t.Errorf("%s, refused: %d, released %d times", path, w.Code, released)
		}
		r.Header.Set("Authorization", "x")
		w = httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code < 400 || w.Code == http.StatusForbidden || released != 1 {
			t.Errorf("%s, authorized: %d, released %d times", path, w.Code, released)
		}
	}
}
