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
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pierless/pierless/pkg/oci"
)

// Errors of this package that are no answers.
var (
	// ErrNotOffered: the registry takes no direct uploads.
	ErrNotOffered = errors.New("the registry takes no direct uploads")
	// ErrContent: the bytes that were sent or came are not those of the digest or the size.
	ErrContent = errors.New("the content is not what its digest and size say")
	// ErrSource: the bytes of a Blob could not be read.
	ErrSource = errors.New("cannot read the blob's bytes")
)

// Error is an answer of the registry that is no success. errors.Is finds its codes, as in
// errors.Is(err, &oci.Error{Code: oci.BlobUnknown}), errors.As its oci.Errors.
type Error struct {
	Method string
	Path   string // without a query, and without the id of an upload
	Status int
	// Errors are those of the answer. Where it has none, as to HEAD or from a proxy, there
	// is one with the code that the status stands for.
	Errors oci.Errors
	// Excerpt is the beginning of a body that is not in the spec's form.
	Excerpt string
	// RetryAfter is how long the registry wants to be left alone; 0: it does not say.
	RetryAfter time.Duration
	// Challenge is the WWW-Authenticate header of a 401, Registry the host[:port] that wants
	// the login; other answers have none.
	Challenge, Registry string

	login   string // what is wrong with the login, in words
	tokens  bool   // whether the token service answered
	attempt int    // which try it answers, from 1
}

// Error returns request, status, and every error of the answer.
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
	return printable(b.String())
}

// printable takes out of what others wrote what would do something to a terminal.
func printable(text string) string {
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

// detail is an error's detail in short.
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

// StoreError is an answer of the store, to which the registry sent the client, that is
// no success. It says nothing of the URL, which is a secret.
type StoreError struct {
	Method     string
	Host       string
	Status     int
	Code       string // the store's own, as BadDigest; empty where it has none
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

// content tells whether the store says that the bytes are others, as S3 and stores like
// it put that.
func (e *StoreError) content() bool {
	switch e.Code {
	case "BadDigest", "InvalidDigest", "InvalidRequest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch":
		return e.Status == http.StatusBadRequest
	}
	return false
}

// expired tells whether the presigned request is too old, or the credentials that it was
// signed with: the registry gives another one.
func (e *StoreError) expired() bool {
	return e.Status == http.StatusForbidden || e.Code == "ExpiredToken"
}

// ended tells whether an upload is no more, as the registry says, or the store of one in
// parts.
func ended(err error) bool {
	var store *StoreError
	return is(err, oci.BlobUploadUnknown) || errors.As(err, &store) && store.Code == "NoSuchUpload"
}

// truncated tells whether the store says that the bytes did not all come, rather than others:
// S3 answers 400 to both.
func (e *StoreError) truncated() bool { return e.Code == "RequestTimeout" || e.Code == "IncompleteBody" }

// networkError is a request that got no answer, or not all of it.
type networkError struct {
	method, where string
	err           error
	sent          int64 // bytes of the body that were on their way
}

// Error leaves out queries: that of a store's URL is a secret.
func (e *networkError) Error() string { return e.method + " " + e.where + ": " + scrub(e.err.Error()) }
func (e *networkError) Unwrap() error { return e.err }

// loginError is a request that was not made because there is nothing to say to the
// registry's challenge: no helper, no answer of a token service that makes sense.
type loginError struct {
	method, path string
	err          error
}

// Error leaves out queries.
func (e *loginError) Error() string {
	return e.method + " " + e.path + ": cannot log in: " + scrub(e.err.Error())
}
func (e *loginError) Unwrap() error { return e.err }

// scrub drops what stands behind question marks.
func scrub(text string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '?')
		if i < 0 {
			return b.String() + text
		}
		b.WriteString(text[:i])
		text = text[i+1:]
		if end := strings.IndexAny(text, "\" \n"); end >= 0 {
			text = text[end:]
		} else {
			text = ""
		}
	}
}

const (
	maxErrorBody = 64 << 10
	maxExcerpt   = 256
)

// answerError reads an answer that is no success, and closes it. missing is the code of
// a 404 that brings none.
func answerError(resp *http.Response, k request) *Error {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what came is what there is to say
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

// hideID takes the id of an upload out of an answer that repeats the path.
func hideID(body []byte, k request) []byte {
	if k.label == k.url.Path {
		return body
	}
	body = bytes.ReplaceAll(body, []byte(k.url.Path), []byte(k.label))
	if id := path.Base(k.url.Path); len(id) >= 16 { // shorter ones may be anything
		body = bytes.ReplaceAll(body, []byte(id), []byte("<id>"))
	}
	return body
}

// statusErrors is what a status says by itself.
func statusErrors(status int, missing oci.Code) oci.Errors {
	code := oci.Unknown
	switch status {
	case http.StatusUnauthorized:
		code = oci.Unauthorized
	case http.StatusForbidden:
		code = oci.Denied
	case http.StatusNotFound:
		if missing != "" {
			code = missing
		}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		code = oci.Unsupported
	case http.StatusTooManyRequests:
		code = oci.TooManyRequests
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		code = oci.Unavailable
	case http.StatusRequestedRangeNotSatisfiable:
		code = oci.RangeInvalid
	case http.StatusRequestEntityTooLarge:
		return oci.Errors{oci.TooLarge(-1)} // a front door that does not speak the spec
	}
	return oci.Errors{{Code: code, Status: status, Message: strings.ToLower(http.StatusText(status))}}
}

// excerpt is the beginning of a body, fit to be shown.
func excerpt(body []byte) string {
	return printable(strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), maxExcerpt)]), "")), " "))
}

// storeError reads a store's answer, and closes it. S3 repeats the signature in some of
// its answers: only code and message are taken.
func storeError(resp *http.Response) *StoreError {
	defer resp.Body.Close()
	e := &StoreError{Method: resp.Request.Method, Host: resp.Request.URL.Host, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what came is what there is to say
	var answer struct{ Code, Message string }
	if xml.Unmarshal(body, &answer) == nil {
		e.Code, e.Message = excerpt([]byte(answer.Code)), scrub(excerpt([]byte(answer.Message)))
	}
	return e
}

// is tells whether an error has a code of the spec.
func is(err error, code oci.Code) bool { return errors.Is(err, &oci.Error{Code: code}) }

// hasStatus tells whether an error is an answer of the registry with one of these.
func hasStatus(err error, statuses ...int) bool {
	var e *Error
	if errors.As(err, &e) {
		for _, s := range statuses {
			if e.Status == s {
				return true
			}
		}
	}
	return false
}
