package lambda

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// api returns Lambda's runtime API, version 2018-06-01, for one instance.
func (i *instance) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", i.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", i.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", i.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", i.initFailure)
	return mux
}

func (i *instance) next(w http.ResponseWriter, r *http.Request) {
	select {
	case i.polled <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	select {
	case inv := <-i.work:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(inv.payload)))
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", i.config.ARN)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+inv.id[:8]+"-"+inv.id[24:]+inv.id[9:13]+inv.id[14:18]+inv.id[19:23]+";Sampled=0")
		_, _ = w.Write(inv.payload) // on an error the process has ended, which watch notices
	case <-i.exited:
	case <-r.Context().Done():
	}
}

func (i *instance) response(w http.ResponseWriter, r *http.Request) {
	inv := i.currentIf(r.PathValue("id"))
	if inv == nil {
		reply(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	payload, err := io.ReadAll(io.LimitReader(r.Body, MaxResponse+1))
	if err != nil {
		return // the process has ended or reports a failure, which watch notices
	}
	if len(payload) > MaxResponse {
		_, _ = io.Copy(io.Discard, r.Body) // the function reads the response only after it has sent everything
		const message = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
		answered(inv, answer{err: &FunctionError{Type: typeResponse, Message: message}})
		reply(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", message)
		return
	}
	answered(inv, answer{payload: payload})
	accepted(w)
}

func (i *instance) failure(w http.ResponseWriter, r *http.Request) {
	inv := i.currentIf(r.PathValue("id"))
	if inv == nil {
		reply(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	answered(inv, answer{err: reported(r)})
	accepted(w)
}

func (i *instance) initFailure(w http.ResponseWriter, r *http.Request) {
	select {
	case i.failed <- reported(r):
	default: // the first one counts
	}
	accepted(w)
}

// answered delivers the first answer of an invocation and drops others.
func answered(inv *invocation, a answer) {
	select {
	case inv.answered <- a:
	default:
	}
}

// reported reads an error document: {"errorMessage": ..., "errorType": ...}.
func reported(r *http.Request) *FunctionError {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 256<<10)) // truncating the message is fine
	var document struct{ ErrorType string }
	_ = json.Unmarshal(body, &document) // other text becomes the message
	kind := r.Header.Get("Lambda-Runtime-Function-Error-Type")
	if kind == "" {
		kind = document.ErrorType
	}
	if kind == "" {
		kind = "Unhandled"
	}
	return &FunctionError{Type: kind, Message: string(body)}
}

func accepted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

func reply(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errorMessage": message, "errorType": kind})
}

// lineWriter writes whole lines, each with a prefix that names the instance.
type lineWriter struct {
	to     io.Writer
	prefix string

	mu   sync.Mutex
	rest []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		w.line(line)
		w.rest = rest
	}
}

func (w *lineWriter) line(line []byte) {
	_, _ = w.to.Write([]byte(w.prefix + string(line) + "\n")) // a failing log must not stop the function
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.line(w.rest)
	}
	w.rest = nil
}
