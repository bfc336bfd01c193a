// Package gateway serves HTTP like an HTTP API of API Gateway: it matches routes, sends
// events of payload format 2.0, converts the functions' responses, and has API Gateway's
// limits and error bodies. If the behavior of API Gateway is unknown, Options has a switch.
//
// It must not know how functions are run or their purpose.
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
	HeadComputed = "computed" // the length of the body that the function returned
	HeadHandler  = "handler"  // the function's header
)

// The values of Options.TrailingSlash.
const (
	SlashKeep  = "keep"
	SlashStrip = "strip"
)

// Invoker invokes the function of a route and returns its response. ErrTooLarge becomes
// 413, ErrThrottled and the end of ctx become 503, and any other error becomes 500.
type Invoker func(ctx context.Context, function string, payload []byte) ([]byte, error)

// Options of a gateway.
type Options struct {
	APIID, AccountID, Region string
	// RenameChallenge renames the function's WWW-Authenticate to
	// X-Amzn-Remapped-WWW-Authenticate before response parameters apply.
	RenameChallenge bool
	// Head selects the Content-Length of HEAD responses: HeadComputed or HeadHandler.
	Head string
	// TrailingSlash selects whether routing and functions see it: SlashKeep or SlashStrip.
	TrailingSlash string
	Invoke        Invoker
	Log           *slog.Logger // one line per request, with the route instead of the path, which may be a secret
}
