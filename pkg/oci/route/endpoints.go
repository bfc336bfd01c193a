package route

import (
	"net/http"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// Kind names an endpoint. The log shows it instead of the path.
type Kind string

// The kinds.
const (
	Base         Kind = "base"
	Catalog      Kind = "catalog"
	Token        Kind = "token"
	Manifest     Kind = "manifest"
	Repository   Kind = "repository"
	Blob         Kind = "blob"
	UploadStart  Kind = "upload-start"
	Upload       Kind = "upload"
	TagList      Kind = "tag-list"
	Referrers    Kind = "referrers"
	DirectStart  Kind = "direct-start"
	Direct       Kind = "direct"
	DirectParts  Kind = "direct-parts"
	Verification Kind = "verification"
	Login        Kind = "login"
	AccessTokens Kind = "access-tokens"
	AccessRotate Kind = "access-rotate"
	AccessRules  Kind = "access-rules"
	AccessTest   Kind = "access-test"
	AccessLog    Kind = "access-log"
)

// Family is a group of endpoints that one Lambda function serves.
type Family string

// The families.
const (
	FamilyBase          Family = "base"
	FamilyBlobs         Family = "blobs"
	FamilyUploads       Family = "uploads"
	FamilyManifests     Family = "manifests"
	FamilyTags          Family = "tags"
	FamilyReferrers     Family = "referrers"
	FamilyDirect        Family = "direct"
	FamilyVerifications Family = "verifications"
	FamilyAccess        Family = "access"
)

// Action is the permission that a request needs.
type Action string

// The actions. The first four concern the repository in the path or, on a path without
// one, the whole registry.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
	Admin  Action = "admin"
	// Manage is for callers with the action admin on any repositories: the handler compares
	// their grants with those of the tokens that they manage.
	Manage Action = "manage"
	// Known is for every caller with valid credentials.
	Known Action = "known"
	// Caller is for every caller: with any valid credentials, and without credentials if
	// the registry lets callers without credentials pull from some repositories.
	Caller Action = "caller"
	// ByID needs no credentials: the id in the path is a secret and the permission. A
	// refusal after the body of an upload was sent would break pushes.
	ByID Action = "id"
	// Proof needs no credentials: the body proves an identity.
	Proof Action = "proof"
)

// Method is an HTTP method of an endpoint and the permission that it needs.
type Method struct {
	Name   string // as in net/http
	Action Action
	// Challenge requires the anonymous token of callers without credentials: they get the
	// challenge first, so that clients that have credentials send them.
	Challenge bool
}

// Endpoint is a path of the API.
type Endpoint struct {
	Kind   Kind
	Family Family
	// Path is the template of the path. {name} stands for a repository's name, which may
	// contain slashes; {digest}, {reference} or {id} may stand at the end. A slash at the
	// end may be left out in requests.
	Path    string
	Methods []Method // in the order of the Allow header
	Unknown oci.Code // the client assumes it for a 404 without an error code
	Doc     string   // the section or document that defines the endpoint, in Markdown
}

// Endpoints lists every path of the API: the parser, the handlers, access control, the
// client, the routes of API Gateway and docs/request-handling.md read this table.
// CONTRIBUTING.md says how to add a row.
func Endpoints() []Endpoint {
	const (
		get, head, post, put, patch, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

		directUploads = "[direct-uploads.md](direct-uploads.md)"
		accessDoc     = "[access.md](access.md)"
	)
	return []Endpoint{
		// Clients choose their scheme by the answer to GET /v2/: without a challenge, docker and
		// skopeo push without the password that they have.
		{Base, FamilyBase, "/v2/", []Method{challenged(get, Caller), challenged(head, Caller)}, oci.NameUnknown, "OCI spec, end-1"},
		{Catalog, FamilyBase, "/v2/_catalog", []Method{on(get, Caller), on(head, Caller)}, oci.NameUnknown, "Docker Registry HTTP API V2"},
		{Token, FamilyBase, "/v2/_pierless/token", []Method{on(get, Caller), on(post, Caller)}, oci.NameUnknown, accessDoc},
		{Manifest, FamilyManifests, "/v2/{name}/manifests/{reference}", []Method{
			on(get, Pull), on(head, Pull), on(put, Push), on(del, Delete),
		}, oci.ManifestUnknown, "OCI spec, end-3, end-7, end-9"},
		// Not /v2/{name}/: a path that was cut short, as by a script with an empty variable, must not
		// delete a repository.
		{Repository, FamilyManifests, "/v2/{name}/_pierless/repository", []Method{on(del, Delete)}, oci.NameUnknown, "[operations.md](operations.md#deleting-a-repository)"},
		// Clients ask for blobs with HEAD before they push. The challenge makes them send their
		// credentials, so that the registry keeps the blobs that they then skip.
		{Blob, FamilyBlobs, "/v2/{name}/blobs/{digest}", []Method{
			on(get, Pull), challenged(head, Pull), on(del, Delete),
		}, oci.BlobUnknown, "OCI spec, end-2, end-10"},
		{UploadStart, FamilyUploads, "/v2/{name}/blobs/uploads/", []Method{on(post, Push)}, oci.NameUnknown, "OCI spec, end-4, end-11"},
		{Upload, FamilyUploads, "/v2/{name}/blobs/uploads/{id}", []Method{
			on(get, ByID), on(patch, ByID), on(put, ByID), on(del, ByID),
		}, oci.BlobUploadUnknown, "OCI spec, end-5, end-6, end-13, end-14"},
		{TagList, FamilyTags, "/v2/{name}/tags/list", []Method{on(get, Pull), on(head, Pull)}, oci.NameUnknown, "OCI spec, end-8"},
		{Referrers, FamilyReferrers, "/v2/{name}/referrers/{digest}", []Method{on(get, Pull), on(head, Pull)}, oci.NameUnknown, "OCI spec, end-12"},
		{DirectStart, FamilyDirect, "/v2/{name}/_pierless/uploads", []Method{on(post, Push)}, oci.NameUnknown, directUploads},
		{Direct, FamilyDirect, "/v2/{name}/_pierless/uploads/{id}", []Method{
			on(get, ByID), on(put, ByID), on(del, ByID),
		}, oci.BlobUploadUnknown, directUploads},
		{DirectParts, FamilyDirect, "/v2/{name}/_pierless/parts/{id}", []Method{on(post, ByID)}, oci.BlobUploadUnknown, directUploads},
		{Verification, FamilyVerifications, "/v2/{name}/_pierless/verifications/{id}", []Method{on(post, ByID)}, oci.BlobUploadUnknown, directUploads},
		{Login, FamilyAccess, "/v2/_pierless/login", []Method{on(post, Proof)}, oci.NameUnknown, accessDoc},
		{AccessTokens, FamilyAccess, "/v2/_pierless/access/tokens", []Method{on(get, Manage), on(post, Manage), on(del, Manage)}, oci.NameUnknown, accessDoc},
		{AccessRotate, FamilyAccess, "/v2/_pierless/access/rotate", []Method{on(post, Manage)}, oci.NameUnknown, accessDoc},
		{AccessTest, FamilyAccess, "/v2/_pierless/access/test", []Method{on(get, Manage)}, oci.NameUnknown, accessDoc},
		{AccessRules, FamilyAccess, "/v2/_pierless/access/rules", []Method{on(get, Admin), on(put, Admin)}, oci.NameUnknown, accessDoc},
		{AccessLog, FamilyAccess, "/v2/_pierless/access/log", []Method{on(get, Admin)}, oci.NameUnknown, accessDoc},
	}
}

func on(name string, action Action) Method { return Method{Name: name, Action: action} }

func challenged(name string, action Action) Method {
	return Method{Name: name, Action: action, Challenge: true}
}

// Families lists the families in the order of the table.
func Families() []Family {
	var all []Family
	for _, e := range Endpoints() {
		if !slices.Contains(all, e.Family) {
			all = append(all, e.Family)
		}
	}
	return all
}
