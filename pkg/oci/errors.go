package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Code is an error code on the wire: upper case letters and underscores.
type Code string

// The codes of the spec (section "Error Codes"), then those that distribution
// added and clients know.
const (
	BlobUnknown         Code = "BLOB_UNKNOWN"
	BlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	BlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	DigestInvalid       Code = "DIGEST_INVALID"
	ManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	ManifestInvalid     Code = "MANIFEST_INVALID"
	ManifestUnknown     Code = "MANIFEST_UNKNOWN"
	NameInvalid         Code = "NAME_INVALID"
	NameUnknown         Code = "NAME_UNKNOWN"
	SizeInvalid         Code = "SIZE_INVALID"
	Unauthorized        Code = "UNAUTHORIZED"
	Denied              Code = "DENIED"
	Unsupported         Code = "UNSUPPORTED"
	TooManyRequests     Code = "TOOMANYREQUESTS"

	TagInvalid              Code = "TAG_INVALID"
	RangeInvalid            Code = "RANGE_INVALID"
	PaginationNumberInvalid Code = "PAGINATION_NUMBER_INVALID"
	Unavailable             Code = "UNAVAILABLE"
	Unknown                 Code = "UNKNOWN"
)

// ErrorDescriptor describes an error code: the one place that says what it means
// and which status it is sent with. docs/errors.md is generated from Codes.
type ErrorDescriptor struct {
	Code    Code
	Status  int
	Message string // sent where an error brings no message of its own
	Meaning string // for the documentation
	Spec    bool   // whether the OCI spec lists the code
}

// Codes lists every code that the registry sends, in the order of the spec.
func Codes() []ErrorDescriptor {
	return []ErrorDescriptor{
		{BlobUnknown, http.StatusNotFound, "blob unknown to registry", "The repository has no blob with this digest. A blob of another repository counts only after a mount.", true},
		{BlobUploadInvalid, http.StatusBadRequest, "blob upload invalid", "The upload cannot go on as asked: the body broke off, or another request took the upload over. Ask for the upload's status, or start again.", true},
		{BlobUploadUnknown, http.StatusNotFound, "blob upload unknown to registry", "The upload was never started, has expired, was cancelled, or belongs to another repository. Start a new one.", true},
		{DigestInvalid, http.StatusBadRequest, "provided digest did not match uploaded content", "The digest is malformed, of an unsupported algorithm, or not that of the content. Nothing was stored.", true},
		{ManifestBlobUnknown, http.StatusBadRequest, "manifest references a manifest or blob unknown to registry", "The manifest names content that the repository does not have. One error per missing digest; push these first.", true},
		{ManifestInvalid, http.StatusBadRequest, "manifest invalid", "The manifest is not JSON, disagrees with its media type or Content-Type, refers to too much, or has a media type that is neither application/* nor *+json.", true},
		{ManifestUnknown, http.StatusNotFound, "manifest unknown to registry", "The repository has no manifest with this tag or digest.", true},
		{NameInvalid, http.StatusBadRequest, "invalid repository name", "The path holds no legal repository name.", true},
		{NameUnknown, http.StatusNotFound, "repository name not known to registry", "Nothing was ever pushed to this repository.", true},
		{SizeInvalid, http.StatusBadRequest, "provided length did not match content length", "The announced size is not that of the content, or a descriptor's size is not that of the stored blob.", true},
		{Unauthorized, http.StatusUnauthorized, "authentication required", "The request carries no valid credentials.", true},
		{Denied, http.StatusForbidden, "requested access to the resource is denied", "The credentials are valid but do not allow this.", true},
		{Unsupported, http.StatusMethodNotAllowed, "the operation is unsupported", "The path exists, the method does not; Allow lists those that do.", true},
		{TooManyRequests, http.StatusTooManyRequests, "too many requests", "Try again after the seconds in Retry-After.", true},
		{TagInvalid, http.StatusBadRequest, "invalid tag", "The tag breaks the spec's grammar.", false},
		{RangeInvalid, http.StatusRequestedRangeNotSatisfiable, "invalid content range", "The chunk does not start where the upload stands; Range says where that is.", false},
		{PaginationNumberInvalid, http.StatusBadRequest, "invalid number of results requested", "n must be a whole number that is not negative, last must be a value that can stand in the list.", false},
		{Unavailable, http.StatusServiceUnavailable, "service unavailable", "The storage behind the registry does not answer, or too many requests meet on one item or in one process. Nothing is half-written; try again after the seconds in Retry-After.", false},
		{Unknown, http.StatusInternalServerError, "unknown error", "A fault of the registry. The log has the cause under the answer's X-Request-Id.", false},
	}
}

// Describe returns the descriptor of a code; that of Unknown for others.
func Describe(c Code) ErrorDescriptor {
	all := Codes()
	if i := slices.IndexFunc(all, func(d ErrorDescriptor) bool { return d.Code == c }); i >= 0 {
		return all[i]
	}
	return all[len(all)-1]
}

// Error is one entry of an error answer (spec, "Error Codes").
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message,omitempty"`
	Detail  any    `json:"detail,omitempty"`
	// Status replaces the code's own where the spec asks for another one, for
	// example 413 for a manifest that is too large. 0 means the code's own.
	Status int `json:"-"`
}

// NewError returns an Error with a message for the client: it says what to do
// and never carries the cause of an internal fault.
func NewError(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code) + ": " + Describe(e.Code).Message
	}
	return string(e.Code) + ": " + e.Message
}

// Is matches errors by code, on both sides of the wire.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errors is the body of an error answer: one or more errors. The first decides
// the status.
type Errors []*Error

// Error joins the messages.
func (es Errors) Error() string {
	joined := make([]error, len(es))
	for i, e := range es {
		joined[i] = e
	}
	return errors.Join(joined...).Error()
}

// Is reports whether any of the errors has the target's code.
func (es Errors) Is(target error) bool {
	return slices.ContainsFunc(es, func(e *Error) bool { return e.Is(target) })
}

// Status returns the HTTP status of the answer.
func (es Errors) Status() int {
	if len(es) == 0 {
		return http.StatusInternalServerError
	}
	if es[0].Status != 0 {
		return es[0].Status
	}
	return Describe(es[0].Code).Status
}

type wireErrors struct {
	Errors []*Error `json:"errors"`
}

// MarshalJSON writes the spec's form, with each code's own message where an
// error has none.
func (es Errors) MarshalJSON() ([]byte, error) {
	body := wireErrors{Errors: make([]*Error, len(es))}
	for i, e := range es {
		filled := *e
		if filled.Message == "" {
			filled.Message = Describe(e.Code).Message
		}
		body.Errors[i] = &filled
	}
	return json.Marshal(body)
}

// UnmarshalJSON reads the spec's form. Codes that this package does not know are
// kept as they are.
func (es *Errors) UnmarshalJSON(b []byte) error {
	var body wireErrors
	if err := json.Unmarshal(b, &body); err != nil {
		return fmt.Errorf("decode error answer: %w", err)
	}
	*es = slices.DeleteFunc(body.Errors, func(e *Error) bool { return e == nil })
	return nil
}
