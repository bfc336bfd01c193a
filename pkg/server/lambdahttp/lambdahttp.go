// Package lambdahttp runs an http.Handler as a Lambda function behind an API Gateway HTTP
// API (payload format 2.0). aws-lambda-go-api-proxy translates between the two. This
// package guards it on both sides, because the adapter decodes paths twice, splits headers
// at commas, treats some binary bodies as text and answers 504 to malformed events. Every
// event gets a valid answer.
//
// It must not know the handler: neither registries, nor paths, nor codes.
package lambdahttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
)

// margin is subtracted from the time of an invocation, so that a handler that exceeds it
// can still answer.
const margin = 500 * time.Millisecond

// WriteError answers and logs an invocation that does not reach the handler, or that the
// handler did not answer. err is a *Fault.
type WriteError func(w http.ResponseWriter, r *http.Request, err error)

// Fault is the error of an invocation without an answer of the handler. Message is for
// clients.
type Fault struct {
	Status  int
	Message string
	Cause   error // for the log; may be nil
}

// failed is a Fault of the function or its gateway, not of the client.
func failed(message string, cause error) *Fault {
	return &Fault{http.StatusInternalServerError, message, cause}
}

// Error implements error.
func (f *Fault) Error() string {
	if f.Cause == nil {
		return f.Message
	}
	return fmt.Sprintf("%s: %v", f.Message, f.Cause)
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// Function is a lambda.Handler that calls an http.Handler.
type Function struct {
	handler    http.Handler
	writeError WriteError
}

// New returns a Function.
func New(h http.Handler, writeError WriteError) *Function { return &Function{h, writeError} }

// Start serves invocations until Lambda ends the process. It needs Lambda's runtime API,
// whose address is in the environment.
func (f *Function) Start() { lambda.Start(f) }

// Invoke answers one event. The error is always nil: for a failed invocation, API Gateway
// would send its own error.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	event, err := parseEvent(payload)
	var answer []byte
	if err == nil {
		answer, err = f.serve(ctx, event)
	}
	if err != nil {
		return f.refuse(ctx, event, err), nil
	}
	return answer, nil
}

// serve calls the handler through the adapter, which gets only the parts of the event that
// it translates correctly; the handler's request has the others too.
func (f *Function) serve(ctx context.Context, event event) ([]byte, error) {
	w := newWriter(event.RequestContext.HTTP.Method)
	var fault error
	adapter := httpadapter.NewV2(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		event.restore(r)
		fault = f.call(w, r.WithContext(context.WithValue(r.Context(), domainKey{}, event.RequestContext.DomainName)))
		rw.WriteHeader(http.StatusOK) // for the adapter; w has the answer
	}))
	if _, err := adapter.ProxyWithContext(ctx, event.guarded()); err != nil {
		if event.IsBase64Encoded {
			return nil, &Fault{Status: http.StatusBadRequest, Message: "the body is not valid base64", Cause: err}
		}
		return nil, err
	}
	if fault != nil {
		return nil, fault
	}
	return w.render()
}

// call runs the handler. A panic ends the answer, not the process, so that the next
// invocation needs no cold start.
func (f *Function) call(w *writer, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = failed("the registry failed", fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	f.handler.ServeHTTP(w, r)
	return nil
}

// refuse answers with an error.
func (f *Function) refuse(ctx context.Context, event event, err error) []byte {
	r := (&http.Request{Method: http.MethodGet, Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	event.restore(r)
	w := newWriter(r.Method)
	f.writeError(w, r, asFault(err))
	answer, err := w.render()
	if err != nil {
		return []byte(`{"statusCode":500,"headers":{},"body":""}`)
	}
	return answer
}

func asFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return failed("the function failed", err)
}

var _ lambda.Handler = (*Function)(nil)
