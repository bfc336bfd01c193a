package auth

import (
	"context"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// anonymousToken is the Bearer token of clients without credentials.
const anonymousToken = "anonymous"

// caller is the sender of a request.
type caller struct {
	access.Caller
	token string
}

// callerKey is the key of the caller in the context of a request.
type callerKey struct{}

func with(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf returns the caller. Without a Guard the registry is open, and every caller may
// do everything.
func callerOf(ctx context.Context) caller {
	if c, found := ctx.Value(callerKey{}).(caller); found {
		return c
	}
	return caller{access.Administrator(), anonymousToken}
}

// Caller returns the sender of a request.
func Caller(ctx context.Context) access.Caller { return callerOf(ctx).Caller }

// May reports whether the caller of a request is allowed an action on a repository. Only
// handlers whose request concerns more than the repository in the path ask for it.
func May(ctx context.Context, repository string, action route.Action) bool {
	return callerOf(ctx).May(repository, action)
}

// Name returns the name of the caller for the log; "" if no Guard has identified one.
func Name(ctx context.Context) string {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c.Name
}

// Token returns the caller's Bearer token: the password that came with the request, or
// the token of clients without credentials. It must not be logged.
func Token(ctx context.Context) string { return callerOf(ctx).token }

// allowed reports whether the caller has the permission that a method needs. challenged says
// that a client without credentials has met the challenge and sent the anonymous token.
func (c caller) allowed(repository string, need route.Method, challenged bool) bool {
	if c.Anonymous && need.Challenge && !challenged {
		return false
	}
	switch need.Action {
	case route.Known:
		return !c.Anonymous
	case route.Caller:
		return !c.Anonymous || len(c.Grants) > 0
	case route.Manage:
		return c.Grants.Manage()
	case route.Pull, route.Push, route.Delete, route.Admin:
		return c.May(repository, need.Action)
	case route.ByID, route.Proof:
	}
	return false
}

// refusal tells a caller with credentials which permission is missing. A repository that
// it may not pull does not exist for it, so the answer cannot depend on the repository:
// only on the grants.
func (c caller) refusal(repository string, action route.Action) error {
	switch {
	case action == route.Manage:
		return oci.NewError(oci.Denied, "%s lacks the permission admin, on any repository: it may not manage tokens", c.Name)
	case repository == "":
		return oci.NewError(oci.Denied, "%s lacks the permission %s for the whole registry", c.Name, action)
	case action == route.Pull, !c.May(repository, route.Pull):
		return oci.NewError(oci.NameUnknown, "the repository %s does not exist, or %s lacks the permission to %s it", repository, c.Name, verb(action))
	}
	return oci.NewError(oci.Denied, "%s lacks the permission to %s the repository %s", c.Name, verb(action), repository)
}

// verb returns an action as a verb before its repository.
func verb(action route.Action) string {
	switch action {
	case route.Push:
		return "push to"
	case route.Delete:
		return "delete in"
	case route.Pull, route.Admin, route.Known, route.Caller, route.Manage, route.ByID, route.Proof:
	}
	return string(action)
}
