package server

import (
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// drainLimit bounds what is read of the body of a refused request. Some clients send all of
// it before they read an answer, and wait for ever if the server does not read. If more is
// left, net/http closes the connection after the answer, which ends their waiting too.
type drainLimit struct {
	bytes  int64
	within time.Duration
}

// drainKnown is for callers that may push: at 2 MiB/s all of it is read.
func drainKnown() drainLimit { return drainLimit{256 << 20, 2 * time.Minute} }

// drainStranger is for callers without valid credentials. Clients that send a body before
// they log in send a small one.
func drainStranger() drainLimit { return drainLimit{1 << 20, 5 * time.Second} }

// of returns the limit for a refusal. The path of an unknown upload needs no credentials.
func (d drainLimit) of(refusal oci.Errors) drainLimit {
	if refusal.Is(&oci.Error{Code: oci.BlobUploadUnknown}) {
		return drainStranger()
	}
	return d
}
