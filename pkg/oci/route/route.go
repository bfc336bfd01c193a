// Package route is the table of the API's endpoints and the grammar of their paths: Parse
// turns a path into a Request and Request.Path turns it back. Server, functions, client
// and the tests of the template share it; no other package reads a path.
//
// It must not know about HTTP requests, storage or handlers, and imports only the standard
// library and pkg/oci.
package route

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// Request is a parsed path. Only the fields of its Kind are set, and they are valid.
type Request struct {
	Kind      Kind
	Name      string        // the repository, {name}
	Digest    oci.Digest    // {digest}
	Reference oci.Reference // {reference}
	Upload    string        // {id}, the id of an upload
}

// Parse parses a path without percent escapes, as API Gateway passes it on. The right end
// decides, so that repository names may have components called blobs, uploads, manifests,
// tags or referrers. The error is an *oci.Error.
func Parse(path string) (Request, error) { return api.Parse(path) }

// ParseEscaped parses a path as it stands in a request line. It refuses an escaped '/' or
// '%': a proxy that decodes the path once more would see another one. The error is an
// *oci.Error.
func ParseEscaped(path string) (Request, error) { return api.ParseEscaped(path) }

// Path returns the path of r, which needs no percent escapes. It is the inverse of Parse.
func (r Request) Path() string { return api.Path(r) }

// Family returns the family that serves the kind.
func (k Kind) Family() Family { return api.find(k).Family }

// Table parses and builds the paths of its endpoints.
type Table struct {
	rows   []row
	ranked []*row // fixed text before variables, and longer text before shorter
}

// row is an endpoint with its template taken apart.
type row struct {
	Endpoint
	named    bool
	fixed    string // the text behind the name, or behind /v2
	variable string // at the end: digest, reference or id; empty: none
}

var api = NewTable(Endpoints()...)

// API returns the table of Endpoints.
func API() *Table { return api }

// NewTable returns a table of endpoints. Their order does not matter to Parse.
func NewTable(endpoints ...Endpoint) *Table {
	t := &Table{rows: make([]row, len(endpoints))}
	for i, e := range endpoints {
		rest, named := strings.CutPrefix(e.Path, "/v2/{name}")
		if !named {
			rest = strings.TrimPrefix(e.Path, "/v2")
		}
		fixed, variable, _ := strings.Cut(strings.TrimSuffix(rest, "}"), "{")
		t.rows[i] = row{e, named, fixed, variable}
		t.ranked = append(t.ranked, &t.rows[i])
	}
	slices.SortStableFunc(t.ranked, func(a, b *row) int {
		return cmp.Or(cmp.Compare(min(len(a.variable), 1), min(len(b.variable), 1)), cmp.Compare(len(b.fixed), len(a.fixed)))
	})
	return t
}

// Parse is the function Parse for the endpoints of the table.
func (t *Table) Parse(path string) (Request, error) {
	rest, found := strings.CutPrefix(path, "/v2")
	if !found || rest != "" && rest[0] != '/' {
		return Request{}, errNoRoute()
	}
	last := strings.LastIndexByte(rest, '/') + 1
	for _, r := range t.ranked {
		end := len(rest)
		if r.variable != "" {
			end = last
		}
		if name, found := r.cut(rest[:end]); found {
			return r.request(name, rest[end:])
		}
	}
	return Request{}, errNoRoute()
}

// cut returns the text before the fixed part of the template, with a leading slash if it
// is a name.
func (r *row) cut(path string) (name string, found bool) {
	if name, found = strings.CutSuffix(path, r.fixed); !found && r.variable == "" {
		name, found = strings.CutSuffix(path, strings.TrimSuffix(r.fixed, "/"))
	}
	return name, found && (r.named || name == "")
}

// request checks the name before the value of the variable.
func (r *row) request(name, value string) (Request, error) {
	req := Request{Kind: r.Kind, Name: strings.TrimPrefix(name, "/")}
	if r.named {
		if err := oci.CheckName(req.Name); err != nil {
			return Request{}, err
		}
	}
	var err error
	switch r.variable {
	case "digest":
		req.Digest, err = oci.ParseDigest(value)
	case "reference":
		req.Reference, err = oci.ParseReference(value)
	case "id":
		req.Upload, err = value, checkUploadID(value)
	}
	if err != nil {
		return Request{}, err
	}
	return req, nil
}

// ParseEscaped is the function ParseEscaped for the endpoints of the table.
func (t *Table) ParseEscaped(path string) (Request, error) {
	if !strings.Contains(path, "%") {
		return t.Parse(path)
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return Request{}, oci.NewError(oci.NameInvalid, "the path has a malformed percent escape")
	}
	if strings.Contains(decoded, "%") || strings.Count(decoded, "/") != strings.Count(path, "/") {
		return Request{}, oci.NewError(oci.NameInvalid, "the path has an escaped '/' or '%%'")
	}
	return t.Parse(decoded)
}

// Path is Request.Path for the endpoints of the table.
func (t *Table) Path(req Request) string {
	r := t.find(req.Kind)
	name := ""
	if r.named {
		name = "/" + req.Name
	}
	// At most one of the three is set.
	return "/v2" + name + r.fixed + string(req.Digest) + req.Reference.String() + req.Upload
}

// Endpoint returns the endpoint of a kind, and the zero value for a kind without one.
func (t *Table) Endpoint(kind Kind) Endpoint { return t.find(kind).Endpoint }

func (t *Table) find(kind Kind) *row {
	for i := range t.rows {
		if t.rows[i].Kind == kind {
			return &t.rows[i]
		}
	}
	return &row{}
}

// Needs returns the method of an endpoint. Only callers with credentials learn that a path is no
// endpoint or does not have the method; endpoints that need no permission at all answer everyone.
func (t *Table) Needs(kind Kind, method string) Method {
	methods := t.find(kind).Methods
	for _, m := range methods {
		if m.Name == method {
			return m
		}
	}
	if len(methods) > 0 && !methods[0].Challenge && slices.Contains([]Action{ByID, Proof, Caller}, methods[0].Action) {
		return methods[0]
	}
	return Method{Name: method, Action: Known}
}

// maxUploadID bounds the id of an upload, in bytes. The registry's own are shorter.
const maxUploadID = 128

func checkUploadID(id string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if id == "" || len(id) > maxUploadID || strings.Trim(id, allowed) != "" {
		return oci.NewError(oci.BlobUploadUnknown, "the upload id is malformed")
	}
	return nil
}

func errNoRoute() error {
	return oci.NewError(oci.Unsupported, "the API has no such path: docs/request-handling.md lists its paths").
		WithStatus(http.StatusNotFound)
}
