// Package route is the grammar of the /v2/ paths: Parse turns a path into a
// Request and Request.Path turns it back. Server, functions, client and the
// template generator share it; nobody else looks at a path.
//
// It must not know about HTTP requests, storage or what a handler does, and
// imports only the standard library and pkg/oci.
package route

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// Kind is one sort of path of the spec (section "Endpoints").
type Kind string

// The kinds, with the spec's endpoint numbers.
const (
	Base        Kind = "base"         // /v2/, end-1
	Catalog     Kind = "catalog"      // /v2/_catalog, from Docker's HTTP API V2
	Blob        Kind = "blob"         // /v2/<name>/blobs/<digest>, end-2 and end-10
	UploadStart Kind = "upload-start" // /v2/<name>/blobs/uploads/, end-4 and end-11
	Upload      Kind = "upload"       // /v2/<name>/blobs/uploads/<id>, end-5, end-6, end-13, end-14
	Manifest    Kind = "manifest"     // /v2/<name>/manifests/<tag-or-digest>, end-3, end-7, end-9
	TagList     Kind = "tag-list"     // /v2/<name>/tags/list, end-8
	Referrers   Kind = "referrers"    // /v2/<name>/referrers/<digest>, end-12

	// The direct upload extension, docs/direct-uploads.md. No component of a name begins
	// with an underscore.
	DirectStart  Kind = "direct-start" // /v2/<name>/_pierless/uploads
	Direct       Kind = "direct"       // /v2/<name>/_pierless/uploads/<id>
	DirectParts  Kind = "direct-parts" // /v2/<name>/_pierless/parts/<id>
	Verification Kind = "verification" // /v2/<name>/_pierless/verifications/<id>

	Token Kind = "token" // /v2/_pierless/token, where clients get a Bearer token
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		Base, Catalog, Blob, UploadStart, Upload, Manifest, TagList, Referrers, DirectStart, Direct, DirectParts, Verification,
		Token,
	}
}

// Family is a group of kinds that one Lambda function serves.
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
)

// Family returns the family that serves the kind.
func (k Kind) Family() Family {
	switch k {
	case Blob:
		return FamilyBlobs
	case UploadStart, Upload:
		return FamilyUploads
	case Manifest:
		return FamilyManifests
	case TagList:
		return FamilyTags
	case Referrers:
		return FamilyReferrers
	case DirectStart, Direct, DirectParts:
		return FamilyDirect
	case Verification:
		return FamilyVerifications
	case Base, Catalog, Token:
	}
	return FamilyBase
}

// Methods lists the methods of the kind, for the Allow header.
func (k Kind) Methods() []string {
	switch k {
	case Blob:
		return []string{http.MethodGet, http.MethodHead, http.MethodDelete}
	case Direct:
		return []string{http.MethodGet, http.MethodPut, http.MethodDelete}
	case UploadStart, DirectStart, DirectParts, Verification:
		return []string{http.MethodPost}
	case Upload:
		return []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete}
	case Manifest:
		return []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}
	case Token:
		return []string{http.MethodGet, http.MethodPost}
	case Base, Catalog, TagList, Referrers:
	}
	return []string{http.MethodGet, http.MethodHead}
}

// Request is a parsed path. Only the fields of its Kind are set, and those that
// are set are valid.
type Request struct {
	Kind      Kind
	Name      string        // the repository; not for Base, Catalog and Token
	Digest    oci.Digest    // Blob, Referrers
	Reference oci.Reference // Manifest
	Upload    string        // Upload, Direct, DirectParts, Verification: the session's id
}

// maxUploadID is longer than any id the registry gives out.
const maxUploadID = 128

// Parse reads a path that is already decoded, as API Gateway hands it over. The
// right end decides, so that repository names may have components called blobs,
// uploads, manifests, tags or referrers. The error is an *oci.Error.
func Parse(path string) (Request, error) {
	rest, found := strings.CutPrefix(path, "/v2")
	if !found || rest != "" && rest[0] != '/' {
		return Request{}, errNoRoute()
	}
	switch rest {
	case "", "/":
		return Request{Kind: Base}, nil
	case "/_catalog":
		return Request{Kind: Catalog}, nil
	case tokenPath:
		return Request{Kind: Token}, nil
	}
	s := strings.Split(rest[1:], "/")
	n := len(s)
	if n < 2 {
		return Request{}, errNoRoute()
	}
	last, before := s[n-1], s[n-2]
	join := func(end int) string { return strings.Join(s[:max(end, 0)], "/") }
	switch {
	case before == extension && last == "uploads":
		return named(Request{Kind: DirectStart, Name: join(n - 2)}, nil)
	case n > 2 && s[n-3] == extension && extensionKind(before) != "":
		return named(Request{Kind: extensionKind(before), Name: join(n - 3), Upload: last}, checkUploadID(last))
	case before == "tags" && last == "list":
		return named(Request{Kind: TagList, Name: join(n - 2)}, nil)
	case before == "manifests":
		ref, err := oci.ParseReference(last)
		return named(Request{Kind: Manifest, Name: join(n - 2), Reference: ref}, err)
	case before == "referrers":
		d, err := oci.ParseDigest(last)
		return named(Request{Kind: Referrers, Name: join(n - 2), Digest: d}, err)
	case before == "blobs" && last == "uploads":
		return named(Request{Kind: UploadStart, Name: join(n - 2)}, nil)
	case before == "blobs":
		d, err := oci.ParseDigest(last)
		return named(Request{Kind: Blob, Name: join(n - 2), Digest: d}, err)
	case before == "uploads" && n > 2 && s[n-3] == "blobs" && last == "":
		return named(Request{Kind: UploadStart, Name: join(n - 3)}, nil)
	case before == "uploads" && n > 2 && s[n-3] == "blobs":
		return named(Request{Kind: Upload, Name: join(n - 3), Upload: last}, checkUploadID(last))
	}
	return Request{}, errNoRoute()
}

// extension is the component of a path behind which no path of the spec lies (spec,
// "Extensions").
const extension = "_pierless"

// tokenPath is the path of Token behind /v2.
const tokenPath = "/" + extension + "/token"

// extensionKind is the kind of /v2/<name>/_pierless/<component>/<id>, or empty.
func extensionKind(component string) Kind {
	switch component {
	case "uploads":
		return Direct
	case "parts":
		return DirectParts
	case "verifications":
		return Verification
	}
	return ""
}

// named checks the name before it reports what is wrong behind it.
func named(r Request, err error) (Request, error) {
	if nameErr := oci.CheckName(r.Name); nameErr != nil {
		return Request{}, nameErr
	}
	if err != nil {
		return Request{}, err
	}
	return r, nil
}

// ParseEscaped reads a path as it stands in a request line. An escaped '/' or
// '%', and whatever is not printable ASCII, is refused rather than decoded: it
// would mean another path to whoever decodes once more.
func ParseEscaped(path string) (Request, error) {
	if !strings.Contains(path, "%") {
		return Parse(path)
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return Request{}, oci.NewError(oci.NameInvalid, "the path has a broken percent escape")
	}
	if strings.Contains(decoded, "%") || strings.Count(decoded, "/") != strings.Count(path, "/") {
		return Request{}, oci.NewError(oci.NameInvalid, "the path has an escaped '/' or '%%'")
	}
	return Parse(decoded)
}

// Path builds the path of r, undecoded and decoded alike: it has no character
// that needs an escape. It is the inverse of Parse.
func (r Request) Path() string {
	switch r.Kind {
	case Catalog:
		return "/v2/_catalog"
	case Blob:
		return "/v2/" + r.Name + "/blobs/" + string(r.Digest)
	case UploadStart:
		return "/v2/" + r.Name + "/blobs/uploads/"
	case Upload:
		return "/v2/" + r.Name + "/blobs/uploads/" + r.Upload
	case Manifest:
		return "/v2/" + r.Name + "/manifests/" + r.Reference.String()
	case TagList:
		return "/v2/" + r.Name + "/tags/list"
	case Referrers:
		return "/v2/" + r.Name + "/referrers/" + string(r.Digest)
	case DirectStart:
		return r.extended("uploads")
	case Direct:
		return r.extended("uploads/" + r.Upload)
	case DirectParts:
		return r.extended("parts/" + r.Upload)
	case Verification:
		return r.extended("verifications/" + r.Upload)
	case Token:
		return "/v2" + tokenPath
	case Base:
	}
	return "/v2/"
}

func (r Request) extended(rest string) string { return "/v2/" + r.Name + "/" + extension + "/" + rest }

func checkUploadID(id string) error {
	if id == "" || len(id) > maxUploadID {
		return oci.NewError(oci.BlobUploadUnknown, "this is no upload id")
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return oci.NewError(oci.BlobUploadUnknown, "this is no upload id")
		}
	}
	return nil
}

func errNoRoute() error {
	err := oci.NewError(oci.Unsupported, "no such route: a registry's paths are /v2/, /v2/_catalog and "+
		"/v2/<name>/{blobs,blobs/uploads,manifests,tags/list,referrers,_pierless/uploads}")
	err.Status = http.StatusNotFound
	return err
}
