package client

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pierless/pierless/pkg/oci"
)

// Errors of this package that are not answers.
var (
	// ErrNotOffered means that the registry does not offer direct uploads.
	ErrNotOffered = errors.New("the registry does not offer direct uploads")
	// ErrContent means that the bytes do not match the digest or the size.
	ErrContent = errors.New("the content does not match its digest and size")
	// ErrSource means that the bytes of a Blob could not be read.
	ErrSource = errors.New("cannot read the blob's bytes")
)

// Error is an error answer of the registry. errors.Is finds its codes, as in
// errors.Is(err, &oci.Error{Code: oci.BlobUnknown}), errors.As its oci.Errors.
type Error struct {
	Method string
	Path   string // without query and upload id
	Status int
	// Errors are those of the answer. If it has none, as an answer to HEAD or of a proxy,
	// there is one with the code that corresponds to the status.
	Errors oci.Errors
	// Excerpt is the beginning of a body that is not in the spec's form.
	Excerpt string
	// RetryAfter is the wait that the registry asks for; 0 if it does not.
	RetryAfter time.Duration
	// Challenge is the WWW-Authenticate header of a 401, Registry the host[:port] that wants
	// the login. Both are empty for other statuses.
	Challenge, Registry string

	login            string // the cause of a 401, for the user
	fromTokenService bool
	attempt          int // which attempt it answers, from 1
}

// Error returns request, status and all errors of the answer.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Method != "" {
		b.WriteString(e.Method + " " + e.Path + ": ")
	}
	fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	for i, one := range e.Errors {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + one.Error() + detail(one))
	}
	if e.login != "" {
		b.WriteString(": " + e.login)
	}
	if e.Excerpt != "" {
		fmt.Fprintf(&b, " (the answer begins with %q)", e.Excerpt)
	}
	return Printable(b.String())
}

// Printable strips control characters from untrusted text so that it cannot affect the
// terminal.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case strconv.IsPrint(r):
			return r
		}
		return -1
	}, text)
}

// detail returns an error's detail as JSON, if it is short.
func detail(e *oci.Error) string {
	const limit = 200
	if e.Detail == nil {
		return ""
	}
	text, err := json.Marshal(e.Detail)
	if err != nil || string(text) == "null" || string(text) == "{}" || len(text) > limit {
		return ""
	}
	return " " + string(text)
}

// Unwrap returns the answer's errors.
func (e *Error) Unwrap() error {
	if len(e.Errors) == 0 {
		return nil
	}
	return e.Errors
}

// StoreError is an error answer of the store to which the registry sent the client. It omits
// the URL, which is a secret.
type StoreError struct {
	Method     string
	Host       string
	Status     int
	Code       string // the store's own, as BadDigest; may be empty
	Message    string
	RetryAfter time.Duration
}

// Error returns host, status and code.
func (e *StoreError) Error() string {
	text := fmt.Sprintf("%s at the store %s: %d %s", e.Method, e.Host, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		text += ": " + e.Code
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// isMismatch reports whether the store rejects the bytes because they do not match their
// checksum or size, with the codes of S3 and compatible stores.
func (e *StoreError) isMismatch() bool {
	switch e.Code {
	case "BadDigest", "InvalidDigest", "InvalidRequest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch":
		return e.Status == http.StatusBadRequest
	}
	return false
}

// expired reports whether the presigned request or the credentials that signed it have
// expired. The registry signs a new one.
func (e *StoreError) expired() bool {
	return e.Status == http.StatusForbidden || e.Code == "ExpiredToken"
}

// ended reports whether an upload no longer exists, at the registry or, for one in parts, at
// the store.
func ended(err error) bool {
	store, ok := errors.AsType[*StoreError](err)
	return is(err, oci.BlobUploadUnknown) || ok && store.Code == "NoSuchUpload"
}

// truncated reports whether the store received too few bytes. S3 answers 400 to that as to a
// mismatch.
func (e *StoreError) truncated() bool {
	return e.Code == "RequestTimeout" || e.Code == "IncompleteBody"
}

// networkError is a request without a complete answer.
type networkError struct {
	method, where string
	err           error
	sent          int64 // bytes of the body that were on their way
}

// Error omits queries: that of a store's URL is a secret.
func (e *networkError) Error() string { return e.method + " " + e.where + ": " + scrub(e.err.Error()) }
func (e *networkError) Unwrap() error { return e.err }

var query = regexp.MustCompile(`\?[^" \n]*`)

// scrub removes the queries of URLs in a text.
func scrub(text string) string { return query.ReplaceAllString(text, "") }

const (
	maxErrorBody = 64 << 10
	maxExcerpt   = 256
	hiddenID     = "<id>"
)

// answerError reads and closes an error answer.
func answerError(resp *http.Response, k request) *Error {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // an incomplete body is still useful
	body = hideID(body, k)
	e := &Error{
		Method: k.method, Path: k.label, Status: resp.StatusCode,
		RetryAfter: retryAfter(resp.Header), Challenge: resp.Header.Get("WWW-Authenticate"),
	}
	if json.Unmarshal(body, &e.Errors) == nil && len(e.Errors) > 0 {
		return e
	}
	e.Errors = statusErrors(resp.StatusCode, k.missing)
	e.Excerpt = excerpt(body)
	return e
}

// hideID removes the id of an upload from an answer that repeats the path.
func hideID(body []byte, k request) []byte {
	if !strings.Contains(k.label, hiddenID) {
		return body
	}
	body = bytes.ReplaceAll(body, []byte(k.url.Path), []byte(k.label))
	if id := path.Base(k.url.Path); len(id) >= 16 { // a shorter one may be any word
		body = bytes.ReplaceAll(body, []byte(id), []byte(hiddenID))
	}
	return body
}

// statusErrors returns the errors that a status stands for. missing is the code of a 404.
func statusErrors(status int, missing oci.Code) oci.Errors {
	code := map[int]oci.Code{
		http.StatusUnauthorized: oci.Unauthorized, http.StatusForbidden: oci.Denied, http.StatusNotFound: missing,
		http.StatusMethodNotAllowed: oci.Unsupported, http.StatusNotImplemented: oci.Unsupported,
		http.StatusTooManyRequests: oci.TooManyRequests, http.StatusServiceUnavailable: oci.Unavailable,
		http.StatusBadGateway: oci.Unavailable, http.StatusGatewayTimeout: oci.Unavailable,
		http.StatusRequestedRangeNotSatisfiable: oci.RangeInvalid,
	}[status]
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return oci.Errors{oci.TooLarge(-1)} // of a proxy in front of the registry
	case code == "":
		code = oci.Unknown
	}
	return oci.Errors{{Code: code, Status: status, Message: strings.ToLower(http.StatusText(status))}}
}

// excerpt returns the beginning of a body, in one printable line.
func excerpt(body []byte) string {
	return Printable(strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), maxExcerpt)]), "")), " "))
}

// storeError reads and closes an error answer of a store. It takes only code and message:
// S3 repeats the signature in some answers.
func storeError(resp *http.Response) *StoreError {
	defer resp.Body.Close()
	e := &StoreError{Method: resp.Request.Method, Host: resp.Request.URL.Host, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // an incomplete body is still useful
	var answer struct{ Code, Message string }
	if xml.Unmarshal(body, &answer) == nil {
		e.Code, e.Message = excerpt([]byte(answer.Code)), scrub(excerpt([]byte(answer.Message)))
	}
	return e
}

// is reports whether an error has a code of the spec.
func is(err error, code oci.Code) bool { return errors.Is(err, &oci.Error{Code: code}) }

// hasStatus reports whether an error is an answer of the registry with one of the statuses.
func hasStatus(err error, statuses ...int) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && slices.Contains(statuses, e.Status)
}
