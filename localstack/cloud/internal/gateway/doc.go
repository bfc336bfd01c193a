// Package gateway answers HTTP as an HTTP API of API Gateway does: routes, events of
// payload format 2.0, limits, error bodies, and how the response of a function becomes
// one of HTTP. Where it is not known how the real one behaves, Options has a switch.
//
// It must not know how functions are run or what they are for.
package gateway

import (
	"context"
	"log/slog"
)

// API Gateway's limits, in bytes.
const (
	MaxBody = 10 << 20
	MaxHead = 10240 // request line and headers
)

// The values of Options.Head.
const (
	HeadComputed = "computed" // of the body that the function returned
	HeadHandler  = "handler"  // what the function says
)

// The values of Options.TrailingSlash.
const (
	SlashKeep  = "keep"
	SlashStrip = "strip"
)

// Invoker runs the function behind a route. An error of errors.Is(err, ErrTooLarge)
// becomes 413, ErrThrottled 503, the end of ctx 503, and any other 500.
type Invoker func(ctx context.Context, function string, payload []byte) ([]byte, error)

// Options of a gateway.
type Options struct {
	APIID, AccountID, Region string
	// RenameChallenge turns the function's WWW-Authenticate into
	// X-Amzn-Remapped-WWW-Authenticate, before parameters are mapped.
	RenameChallenge bool
	// Head chooses the Content-Length of answers to HEAD: HeadComputed or HeadHandler.
	Head string
	// TrailingSlash chooses what a function sees of it, and routes too: SlashKeep or SlashStrip.
	TrailingSlash string
	Invoke        Invoker
	Log           *slog.Logger // one line per request, without paths: those of uploads are secrets
}
