package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// TestStoreAnswerLost: if the answer of the store is lost, the bytes are stored, and the client
// need not send them again.
func TestStoreAnswerLost(t *testing.T) {
	s3, wrap := withStore(t)
	s := newSite(t, newUpstream(t, wrap).URL)
	content := random(large)
	s3.setFault(func(_ int, r *http.Request) int {
		s3.setFault(nil)
		s3.put(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	s.do("PUT", closeAt(s.open("app"), oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(http.StatusCreated)
	s.pulled("app", content)

	// The same holds if the store answers that the object exists.
	content = random(large)
	s3.setFault(func(_ int, r *http.Request) int {
		s3.setFault(nil)
		s3.put(httptest.NewRecorder(), r)
		return http.StatusPreconditionFailed
	})
	s.do("PUT", closeAt(s.open("app"), oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(http.StatusCreated)
	s.pulled("app", content)

	// If they are not stored after all, the client gets 503.
	content = random(large)
	s3.setFault(func(_ int, r *http.Request) int {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
	at := s.open("b")
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(http.StatusServiceUnavailable, oci.Unavailable)
	s3.setFault(nil)
	s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(http.StatusCreated)
}

// TestStreamPastSpool: a body of known length needs no space in the spool if the store accepts
// it in one request.
func TestStreamPastSpool(t *testing.T) {
	_, wrap := withStore(t)
	s := newSite(t, newUpstream(t, wrap).URL, func(o *proxy.Options) { o.SpoolLimit = 1 })
	content := random(large)
	d := oci.SHA256.FromBytes(content)
	s.do("PUT", closeAt(s.open("app"), d), bytes.NewReader(content)).want(http.StatusCreated)
	s.proxy.SetBodyIdle(20 * time.Millisecond)
	for length, status := range map[int64]int{direct.MaxPut: http.StatusRequestTimeout, direct.MaxPut + 1: http.StatusInsufficientStorage} {
		at := closeAt(s.open("other"), oci.SHA256.FromBytes(content[1:]))
		s.send("PUT", at, stalling(t, content[:999]), length).want(status)
	}
}

// TestStoreGone: the proxy retries a store that it cannot reach, with growing pauses.
func TestStoreGone(t *testing.T) {
	s3, wrap := withStore(t)
	s := newSite(t, newUpstream(t, wrap).URL)
	s3.Close()
	var waits []time.Duration
	s.proxy.SetSleep(func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	})
	content := random(large)
	at := closeAt(s.open("app"), oci.SHA256.FromBytes(content))
	s.do("PUT", at, bytes.NewReader(content)).want(http.StatusServiceUnavailable, oci.Unavailable)
	if want := []time.Duration{time.Second / 2, time.Second, 2 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
}

// TestAnnouncedSize: the proxy checks the announced size of a blob however it sends it.
func TestAnnouncedSize(t *testing.T) {
	_, wrap := withStore(t)
	for _, up := range []*upstream{newUpstream(t, wrap), newUpstream(t, nil)} {
		s := newSite(t, up.URL)
		content := random(large)
		at := closeAt(s.open("app"), oci.SHA256.FromBytes(content))
		for _, wrong := range []string{"0", "5"} {
			s.do("PUT", at+"&size="+wrong, bytes.NewReader(content)).want(http.StatusBadRequest, oci.SizeInvalid)
		}
		s.do("PUT", fmt.Sprintf("%s&size=%d", at, large), bytes.NewReader(content)).want(http.StatusCreated)
	}
}

// largerChunks announces a larger minimum size of chunks than the registry.
type largerChunks struct{ http.ResponseWriter }

func (l largerChunks) WriteHeader(status int) {
	l.Header().Set("OCI-Chunk-Min-Length", fmt.Sprint(large))
	l.ResponseWriter.WriteHeader(status)
}

// TestHabits: registries with deviations from the spec get uploads in the form that they accept,
// as from pkg/client.
func TestHabits(t *testing.T) {
	for name, habit := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"no chunks, as ECR": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPatch {
				w.WriteHeader(http.StatusCreated)
				return
			}
			next.ServeHTTP(w, r)
		},
		"larger chunks": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			switch {
			case r.Method == http.MethodPost:
				w = largerChunks{w}
			case r.Method == http.MethodPatch && r.ContentLength < large:
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			next.ServeHTTP(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			names, blobs := storetest.Open(t)
			quiet := slog.New(slog.DiscardHandler)
			inner := server.All(registry.New(names, blobs, registry.Options{Log: quiet}), server.Options{Log: quiet, ServeBlobs: storetest.Embedded})
			s, _ := newSiteOver(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "_pierless") {
					http.NotFound(w, r)
					return
				}
				habit(w, r, inner)
			})
			content := random(large)
			s.do("PUT", closeAt(s.open("app"), oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(http.StatusCreated)
			s.pulled("app", content)
			wantEmpty(t, s.spool)
		})
	}
}

// TestVerificationEnds: the client gets an answer even if verification makes no progress.
func TestVerificationEnds(t *testing.T) {
	up := newUpstream(t, func(u *upstream, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var o direct.Offer
			switch {
			case r.URL.Path == "/store":
				_, _ = io.Copy(io.Discard, r.Body)
				return
			case !strings.Contains(r.URL.Path, "_pierless"):
				next.ServeHTTP(w, r)
				return
			case r.Method == http.MethodDelete:
				w.WriteHeader(http.StatusNoContent)
				return
			case strings.HasSuffix(r.URL.Path, "_pierless/uploads"):
				if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
					t.Error(err)
				}
			}
			w.WriteHeader(http.StatusAccepted)
			_ = json.NewEncoder(w).Encode(direct.Upload{
				ID: strings.Repeat("abcd", 16), State: direct.Verifying, Digest: o.Digest, Size: o.Size,
				Put: &direct.Request{Method: http.MethodPut, URL: u.URL + "/store", Headers: map[string]string{"Content-Length": fmt.Sprint(o.Size)}},
			})
		})
	})
	s := newSite(t, up.URL)
	content := random(large)
	s.do("PUT", closeAt(s.open("app"), oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(http.StatusServiceUnavailable, oci.Unavailable)
}

// TestPasswordInAddress: errors do not show the password.
func TestPasswordInAddress(t *testing.T) {
	_, err := proxy.New(proxy.Options{Registry: "https://ann:hush@registry.example", Spool: t.TempDir()})
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}

// TestParallelSpool: concurrent requests get no more space than the limit.
func TestParallelSpool(t *testing.T) {
	const most, each, senders = 3 << 20, 1 << 20, 8
	s := newSite(t, newUpstream(t, nil).URL, func(o *proxy.Options) { o.SpoolLimit = most })
	var wait sync.WaitGroup
	answers := make([]*answer, senders)
	places := make([]string, senders)
	content := random(each)
	for i := range senders {
		places[i] = s.open("app")
	}
	for i := range senders {
		wait.Go(func() { answers[i] = s.do("PATCH", places[i], stream(content)) })
	}
	wait.Wait()
	taken := 0
	for _, a := range answers {
		switch a.status {
		case http.StatusAccepted:
			taken++
		case http.StatusInsufficientStorage:
		default:
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if taken > most/each || len(spooled(t, s.spool)) != taken {
		t.Errorf("%d of %d uploads were taken, %d files are there", taken, senders, len(spooled(t, s.spool)))
	}
	for i, a := range answers {
		if a.status == http.StatusAccepted {
			s.do("PUT", closeAt(places[i], oci.SHA256.FromBytes(content)), nil).want(http.StatusCreated)
		}
	}
	s.do("PUT", closeAt(s.open("other"), oci.SHA256.FromBytes(content)), stream(content)).want(http.StatusCreated)
	wantEmpty(t, s.spool)
}
