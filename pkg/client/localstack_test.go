//go:build localstack

package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// newCloudRegistry is the registry over S3 and DynamoDB, which sends clients to S3.
func newCloudRegistry(t *testing.T) string {
	t.Helper()
	names, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	return serve(t, server.All(registry.New(names, blobs, registry.Options{Log: quiet}), server.Options{Log: quiet}))
}

// isStore tells requests to S3 from those to the registry.
func isStore(req *http.Request) bool { return req.URL.Query().Has("X-Amz-Signature") }

func TestCloudSession(t *testing.T) {
	c, _ := newClient(t, newCloudRegistry(t), client.Options{})
	session(t, c)
}

// TestCloudPut: a PUT that is cut off in the middle, and one whose answer is lost, end
// with the blob in its place.
func TestCloudPut(t *testing.T) {
	for name, what := range map[string]fault{"nothing": none, "cut": cutRequest, "lost answer": lostAnswer} {
		t.Run(name, func(t *testing.T) {
			var puts atomic.Int64
			f := &faults{pick: func(req *http.Request, _ int) fault {
				if req.Method == http.MethodPut && isStore(req) && puts.Add(1) == 1 {
					return what
				}
				return none
			}}
			r := newRepository(t, newCloudRegistry(t), "team/app", client.Options{Transport: f})
			content := randomBytes(1, 20*mib)
			pushDirect(t, r, fileOf(t, content))
			wantBlob(t, r, content)
			if got, err := r.PushBlob(t.Context(), blobOf(content)); err != nil || got.Method != client.Existed {
				t.Errorf("again: %+v, %v", got, err)
			}
		})
	}
}

// TestCloudWrongBytes: S3 itself refuses other bytes, and nothing is visible afterwards.
func TestCloudWrongBytes(t *testing.T) {
	r := newRepository(t, newCloudRegistry(t), "team/app", client.Options{})
	b := blobOf(randomBytes(1, 20*mib))
	b.Digest = oci.SHA256.FromBytes([]byte("other"))
	for _, parts := range []bool{false, true} {
		b.Parts = parts
		if _, err := r.PushBlob(t.Context(), b); !errors.Is(err, client.ErrContent) {
			t.Errorf("parts %v: other bytes give %v", parts, err)
		}
		if _, err := r.BlobSize(t.Context(), b.Digest); !errors.Is(err, &oci.Error{Code: oci.BlobUnknown}) {
			t.Errorf("parts %v: something is visible: %v", parts, err)
		}
	}
}

// TestCloudPartsResume: a push that is killed in the middle goes on in another client
// where it stopped.
func TestCloudPartsResume(t *testing.T) {
	address := newCloudRegistry(t)
	kept := &memory{ids: map[oci.Digest]string{}}
	content := randomBytes(1, 100*mib) // 7 parts
	b := fileOf(t, content)
	b.Parts = true
	ctx, kill := context.WithCancel(t.Context())
	var stored atomic.Int64
	f := &faults{pick: func(*http.Request, int) fault { return none }}
	watch := roundTrip(func(req *http.Request) (*http.Response, error) {
		resp, err := f.RoundTrip(req)
		if err == nil && req.Method == http.MethodPut && isStore(req) && resp.StatusCode == http.StatusOK && stored.Add(1) == 3 {
			kill()
		}
		return resp, err
	})
	if _, err := newRepository(t, address, "a", client.Options{Resume: kept, Transport: watch}).PushBlob(ctx, b); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
	r := newRepository(t, address, "a", client.Options{Resume: kept})
	got, err := r.PushBlob(t.Context(), b)
	if err != nil || got.Method != client.Direct || got.Sent > b.Size-3*16*mib {
		t.Fatalf("%+v, %v; want no more sent than what three parts left", got, err)
	}
	wantBlob(t, r, content)
	if len(kept.ids) != 0 {
		t.Errorf("remembered after the end: %v", kept.ids)
	}
	for _, seen := range f.requests() {
		if strings.HasPrefix(seen, http.MethodDelete) {
			t.Errorf("a push that can go on was cancelled: %s", seen)
		}
	}
}
