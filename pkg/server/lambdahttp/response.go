package lambdahttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// maxAnswer is the size limit of Lambda for the response of a function, in bytes, including
// headers, base64 and JSON.
const maxAnswer = 6 << 20

var errTooLong = errors.New("the answer exceeds the response limit of Lambda")

// writer is a ResponseWriter in memory. It follows the rules of net/http.
type writer struct {
	header http.Header
	sent   http.Header // header at the time of WriteHeader
	status int
	isHead bool
	body   bytes.Buffer
	full   bool
}

func newWriter(method string) *writer {
	return &writer{header: http.Header{}, isHead: method == http.MethodHead}
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter: the first final status counts. It panics on
// an invalid status, as net/http does.
func (w *writer) WriteHeader(status int) {
	if status < 100 || status > 599 {
		panic(fmt.Sprintf("invalid status %d", status))
	}
	if w.status != 0 || status < 200 {
		return
	}
	w.status, w.sent = status, w.header.Clone()
}

// Write implements http.ResponseWriter. It fails for statuses without a body and, to bound
// memory, beyond Lambda's limit.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.status == http.StatusNoContent, w.status == http.StatusNotModified:
		return 0, http.ErrBodyNotAllowed
	case w.body.Len()+len(p) > maxAnswer:
		w.full = true
		return 0, errTooLong
	}
	return w.body.Write(p)
}

// render returns the response for Lambda. The error is a *Fault.
func (w *writer) render() ([]byte, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.full {
		return nil, tooLong()
	}
	if announced := w.sent.Get("Content-Length"); announced != "" && !w.isHead && announced != strconv.Itoa(w.body.Len()) {
		return nil, failed("the answer is incomplete", fmt.Errorf("%d bytes written, %s announced", w.body.Len(), announced))
	}
	answer := events.APIGatewayV2HTTPResponse{StatusCode: w.status, Headers: map[string]string{}}
	for name, values := range w.sent {
		if !isToken(name) {
			continue
		}
		for i := range values {
			values[i] = cleanValue(values[i])
		}
		if name == "Set-Cookie" {
			answer.Cookies = values
		} else {
			answer.Headers[name] = strings.Join(values, ", ")
		}
	}
	w.setBody(&answer)
	b, err := json.Marshal(answer)
	if err != nil {
		return nil, failed("the answer cannot be encoded", err)
	}
	if len(b) > maxAnswer {
		return nil, tooLong()
	}
	return b, nil
}

// setBody encodes the body. The answer to HEAD keeps it, so that the gateway computes the
// correct length.
func (w *writer) setBody(answer *events.APIGatewayV2HTTPResponse) {
	body := w.body.Bytes()
	switch {
	case w.status == http.StatusNotModified:
		delete(answer.Headers, "Content-Type")
		delete(answer.Headers, "Content-Length")
		return
	case w.status == http.StatusNoContent:
		delete(answer.Headers, "Content-Length")
		return
	case len(body) > 0:
		answer.Headers["Content-Length"] = strconv.Itoa(len(body))
		if answer.Headers["Content-Type"] == "" {
			answer.Headers["Content-Type"] = http.DetectContentType(body)
		}
	}
	if w.isText() {
		answer.Body = string(body)
		return
	}
	answer.Body, answer.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
}

// isText reports whether the body may be sent as text. A body with an ETag is not, because
// each byte counts, and proxies on the way may change text.
func (w *writer) isText() bool {
	if w.body.Len() == 0 {
		return true
	}
	return w.sent.Get("Content-Type") == "application/json" && w.sent.Get("ETag") == "" && utf8.Valid(w.body.Bytes())
}

// cleanValue removes line breaks from a header value, as net/http does.
func cleanValue(s string) string {
	s = strings.Map(func(c rune) rune {
		if isControl(c) {
			return ' '
		}
		return c
	}, s)
	return strings.TrimSpace(s)
}

func tooLong() *Fault {
	return failed("the answer is larger than this registry can send", errTooLong)
}
