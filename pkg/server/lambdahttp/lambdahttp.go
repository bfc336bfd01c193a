// Package lambdahttp runs an http.Handler as a Lambda function behind an API Gateway
// HTTP API (payload format 2.0). The translation is aws-lambda-go-api-proxy's; this
// package stands around it on both sides, because the adapter decodes paths twice,
// splits headers at commas, takes text for text and answers 504 to what it does not
// understand. Whatever event comes in, a valid answer goes out.
//
// It must not know what the handler does: neither registries, nor paths, nor codes.
package lambdahttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
)

// margin is kept from an invocation's time, so that a handler which ran out of it
// can still say so.
const margin = 500 * time.Millisecond

// Options of a Function. The zero value is ready for use.
type Options struct {
	// Refuse answers and logs what the handler never sees, or did not answer; err is
	// a *Fault. nil means plain text and slog.Default.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
}

// Fault is an invocation that this package answers itself. Message is for clients.
type Fault struct {
	Status  int
	Message string
	Cause   error // for the log; may be nil
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

// Function is a handler as Lambda calls it.
type Function struct {
	handler http.Handler
	opts    Options
}

// Start serves invocations with h until the process is ended. It needs Lambda's
// runtime API, which the runtime announces in the environment.
func Start(h http.Handler, opts Options) { lambda.Start(New(h, opts)) }

// New returns a Function.
func New(h http.Handler, opts Options) *Function {
	if opts.Refuse == nil {
		opts.Refuse = refusePlainly
	}
	return &Function{handler: h, opts: opts}
}

func refusePlainly(w http.ResponseWriter, r *http.Request, err error) {
	f := asFault(err)
	slog.ErrorContext(r.Context(), "invocation refused", "status", f.Status, "error", err)
	http.Error(w, f.Message, f.Status)
}

// Invoke answers one event. The error is always nil: a failed invocation would show
// clients the gateway's own error.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	event, err := parseEvent(payload)
	if err != nil {
		return f.refuse(ctx, event, err), nil
	}
	w, err := f.serve(ctx, event)
	if err != nil {
		return f.refuse(ctx, event, err), nil
	}
	answer, err := w.render()
	if err != nil {
		return f.refuse(ctx, event, err), nil
	}
	return answer, nil
}

// serve calls the handler through the adapter. The adapter makes the request and is
// told nothing that it could get wrong; what was kept from it is put back inside.
func (f *Function) serve(ctx context.Context, event event) (*writer, error) {
	w := newWriter(event.RequestContext.HTTP.Method)
	var failed error
	adapter := httpadapter.NewV2(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		event.restore(r)
		failed = f.call(w, r)
		rw.WriteHeader(http.StatusOK) // the adapter fails without; the answer is w's
	}))
	if _, err := adapter.ProxyWithContext(ctx, event.guarded()); err != nil {
		if event.IsBase64Encoded {
			return nil, &Fault{Status: http.StatusBadRequest, Message: "the body is not the base64 that it is said to be", Cause: err}
		}
		return nil, err
	}
	return w, failed
}

// call runs the handler. A panic ends the answer, not the process: the next
// invocation would have to start it again.
func (f *Function) call(w *writer, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Fault{
				Status: http.StatusInternalServerError, Message: "the registry failed",
				Cause: fmt.Errorf("panic: %v\n%s", v, debug.Stack()),
			}
		}
	}()
	f.handler.ServeHTTP(w, r)
	return nil
}

// refuse answers with a fault, in the words of Options.Refuse.
func (f *Function) refuse(ctx context.Context, event event, err error) []byte {
	r := (&http.Request{Method: http.MethodGet, Header: http.Header{}, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	event.restore(r)
	w := newWriter(r.Method)
	f.opts.Refuse(w, r, asFault(err))
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
	return &Fault{Status: http.StatusInternalServerError, Message: "the function failed", Cause: err}
}

var _ lambda.Handler = (*Function)(nil)
