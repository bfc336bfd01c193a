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
	AccessInvalid           Code = "ACCESS_INVALID"
	Unavailable             Code = "UNAVAILABLE"
	Unknown                 Code = "UNKNOWN"
)

// ErrorDescriptor defines the status and the meaning of an error code. docs/errors.md is
// generated from Codes.
type ErrorDescriptor struct {
	Code    Code
	Status  int
	Message string // sent if an error has no message
	Meaning string // for the documentation
	Spec    bool   // whether the OCI spec lists the code
}

// Codes lists every code that the registry sends, in the order of the spec.
func Codes() []ErrorDescriptor {
	return []ErrorDescriptor{
		{BlobUnknown, http.StatusNotFound, "blob unknown to registry", "The repository has no blob with this digest. A blob of another repository counts only after a mount.", true},
		{BlobUploadInvalid, http.StatusBadRequest, "blob upload invalid", "The request does not fit the upload, its body ended early, or another request took the upload over. Ask for the upload's status, or start again.", true},
		{BlobUploadUnknown, http.StatusNotFound, "blob upload unknown to registry", "The upload was never started, has expired, was cancelled, or belongs to another repository. Start a new one.", true},
		{DigestInvalid, http.StatusBadRequest, "provided digest did not match uploaded content", "The digest is malformed, of an unsupported algorithm, or not that of the content. Nothing was stored.", true},
		{ManifestBlobUnknown, http.StatusBadRequest, "manifest references a manifest or blob unknown to registry", "The manifest references content that the repository does not have. One error per missing digest; push these first.", true},
		{ManifestInvalid, http.StatusBadRequest, "manifest invalid", "The manifest is not JSON, does not match its media type or Content-Type, has too many references, or has a media type that is neither application/* nor *+json.", true},
		{ManifestUnknown, http.StatusNotFound, "manifest unknown to registry", "The repository has no manifest with this tag or digest.", true},
		{NameInvalid, http.StatusBadRequest, "invalid repository name", "The path has no valid repository name.", true},
		{NameUnknown, http.StatusNotFound, "repository name not known to registry", "There is no such repository: no manifest was pushed to it, it was deleted, or the credentials do not permit to pull from it.", true},
		{SizeInvalid, http.StatusBadRequest, "provided length did not match content length", "The announced size differs from the content, or the size in a descriptor from the stored blob.", true},
		{Unauthorized, http.StatusUnauthorized, "authentication required", "The request carries no valid credentials.", true},
		{Denied, http.StatusForbidden, "requested access to the resource is denied", "The credentials are valid but do not permit this.", true},
		{Unsupported, http.StatusMethodNotAllowed, "the operation is unsupported", "The path does not have this method; Allow lists its methods.", true},
		{TooManyRequests, http.StatusTooManyRequests, "too many requests", "Try again after the seconds in Retry-After.", true},
		{TagInvalid, http.StatusBadRequest, "invalid tag", "The tag does not follow the spec's grammar.", false},
		{RangeInvalid, http.StatusRequestedRangeNotSatisfiable, "invalid content range", "The chunk does not start at the end of the bytes that the upload has; Range shows them.", false},
		{PaginationNumberInvalid, http.StatusBadRequest, "invalid number of results requested", "n must be a whole number that is not negative, last must be a valid entry of the list.", false},
		{AccessInvalid, http.StatusBadRequest, "invalid access rules", "A token, grant or login rule is malformed or unsafe, or the proof of an identity cannot be read. Nothing was changed.", false},
		{Unavailable, http.StatusServiceUnavailable, "service unavailable", "The storage behind the registry does not respond, or too many requests compete for one item or one process. No write is left incomplete; try again after the seconds in Retry-After.", false},
		{Unknown, http.StatusInternalServerError, "unknown error", "A fault of the registry. The log has the cause under the X-Request-Id of the answer.", false},
	}
}

// Describe returns the descriptor of a code, or that of Unknown for a code not in Codes.
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
	// Status, if not 0, replaces the status of the code, for example by 413 for a manifest
	// that is too large.
	Status int `json:"-"`
}

// NewError returns an Error with a message for the client. The message should say how to
// correct the request, and must not contain the cause of an internal fault.
func NewError(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// WithStatus sets Status and returns e.
func (e *Error) WithStatus(status int) *Error {
	e.Status = status
	return e
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code) + ": " + Describe(e.Code).Message
	}
	return string(e.Code) + ": " + e.Message
}

// Is matches errors by code, in server and client.
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

// MarshalJSON encodes the spec's form. An error without a message gets that of its code.
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

// UnmarshalJSON decodes the spec's form. It keeps codes that are not in Codes.
func (es *Errors) UnmarshalJSON(b []byte) error {
	var body wireErrors
	if err := json.Unmarshal(b, &body); err != nil {
		return fmt.Errorf("decode error answer: %w", err)
	}
	*es = slices.DeleteFunc(body.Errors, func(e *Error) bool { return e == nil })
	return nil
}
