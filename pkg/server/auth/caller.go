package auth

import "context"

// anonymousToken is the Bearer token of clients without credentials.
const anonymousToken = "anonymous"

// caller is the sender of a request.
type caller struct {
	token     string
	anonymous bool
}

// callerKey is the key of the caller in the context of a request.
type callerKey struct{}

// callerOf returns the caller. Without a Guard the registry is open, and every caller may
// do everything.
func callerOf(ctx context.Context) caller {
	if c, found := ctx.Value(callerKey{}).(caller); found {
		return c
	}
	return caller{token: anonymousToken}
}

// MayPush reports whether the caller of a request may push.
func MayPush(ctx context.Context) bool { return !callerOf(ctx).anonymous }

// Token returns the caller's Bearer token: the password that came with the request, or
// the token of clients without credentials. It must not be logged.
func Token(ctx context.Context) string { return callerOf(ctx).token }
