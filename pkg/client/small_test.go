package client_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/pierless/pierless/pkg/client"
)

// TestSmallBlobThrownAway: a registry that takes no blob with the POST may say so before
// it has read all of it. What it did read was not sent.
func TestSmallBlobThrownAway(t *testing.T) {
	const read = 1000
	answers := roundTrip(func(req *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: http.StatusAccepted, Header: http.Header{"Location": {"/v2/a/blobs/uploads/1"}}, Body: http.NoBody, Request: req}
		switch req.Method {
		case http.MethodPost:
			_, _ = io.CopyN(io.Discard, req.Body, read)
		case http.MethodPut:
			_, _ = io.Copy(io.Discard, req.Body)
			resp.StatusCode = http.StatusCreated
		default:
			resp.StatusCode = http.StatusNotFound
		}
		return resp, nil
	})
	seen := &progress{}
	b := blobOf(randomBytes(1, 2*mib))
	b.Progress = seen.add
	got, err := newRepository(t, "registry.example", "a", client.Options{Transport: answers}).PushBlob(t.Context(), b)
	if err != nil || got != (client.PushResult{Method: client.Whole, Sent: b.Size}) || seen.sum != b.Size || seen.low < 0 {
		t.Errorf("%+v, %v; progress %d, %d at least", got, err, seen.sum, seen.low)
	}
}
