package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// guardedSend sends a body of some bytes by a transport that takes it as take does, in
// a time that tests make.
func guardedSend(t *testing.T, body io.Reader, take func(*http.Request) error) (spent time.Duration, err error) {
	t.Helper()
	g := &stallGuard{idle: idleTimeout, answer: answerTimeout, next: roundTripper(func(r *http.Request) (*http.Response, error) {
		if err := errors.Join(take(r), r.Context().Err()); err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	})}
	req, reqErr := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://store/", body)
	if reqErr != nil {
		t.Fatal(reqErr)
	}
	begin := time.Now()
	resp, err := g.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	return time.Since(begin), err
}

func untilCancelled(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// slowReader is a source that takes its time for every read.
type slowReader struct {
	io.Reader
	each time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(s.each)
	return s.Reader.Read(p[:min(len(p), 1)])
}

// TestStalledRequests: stalled transfers time out, slow ones do not.
func TestStalledRequests(t *testing.T) {
	const slow = idleTimeout - time.Second
	for name, tt := range map[string]struct {
		each        time.Duration // of the source
		take        func(r *http.Request) error
		stalled     bool
		least, most time.Duration
	}{
		"a store that takes nothing": {
			take:    func(r *http.Request) error { return untilCancelled(r.Context()) },
			stalled: true, least: idleTimeout, most: 2 * idleTimeout,
		},
		"a store that stops": {
			take: func(r *http.Request) error {
				_, _ = r.Body.Read(make([]byte, 1))
				return untilCancelled(r.Context())
			},
			stalled: true, least: idleTimeout, most: 2 * idleTimeout,
		},
		"a store that never answers": {
			take: func(r *http.Request) error {
				_, _ = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				return untilCancelled(r.Context())
			},
			stalled: true, least: answerTimeout, most: answerTimeout + idleTimeout,
		},
		"a slow store": {
			take: func(r *http.Request) error {
				for {
					time.Sleep(slow)
					if _, err := r.Body.Read(make([]byte, 1)); err != nil {
						return nil
					}
				}
			},
			least: 5 * slow, most: 7 * slow,
		},
		"a slow source": { // as a person at the client's end
			each: 10 * idleTimeout,
			take: func(r *http.Request) error {
				_, err := io.Copy(io.Discard, r.Body)
				return err
			},
			least: 50 * idleTimeout, most: 70 * idleTimeout,
		},
		"a slow answer": {
			take: func(r *http.Request) error {
				_, _ = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				time.Sleep(answerTimeout - idleTimeout)
				return nil
			},
			least: answerTimeout - idleTimeout, most: answerTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				content := slowReader{bytes.NewReader([]byte("bytes")), tt.each}
				src := &source{}
				body, err := src.open(func() (io.ReadCloser, error) { return io.NopCloser(content), nil }, 5)
				if err != nil {
					t.Fatal(err)
				}
				other := slowReader{bytes.NewReader([]byte("bytes")), tt.each}
				for kind, r := range map[string]io.Reader{"a source": body, "any reader": other} {
					spent, err := guardedSend(t, r, tt.take)
					if errors.Is(err, errStalled) != tt.stalled || !tt.stalled && err != nil || spent < tt.least || spent > tt.most {
						t.Errorf("%s: %v after %v", kind, err, spent)
					}
				}
			})
		})
	}
}

// TestStalledAnswer: so is an answer that stops; a reader that takes its time is not the
// connection's fault.
func TestStalledAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &stallGuard{idle: idleTimeout, answer: answerTimeout, next: roundTripper(func(r *http.Request) (*http.Response, error) {
			in, out := io.Pipe()
			go func() {
				_, _ = out.Write([]byte("ab"))
				<-r.Context().Done()
				out.CloseWithError(r.Context().Err())
			}()
			return &http.Response{StatusCode: http.StatusOK, Body: in, Request: r}, nil
		})}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := g.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for range 2 {
			time.Sleep(10 * idleTimeout)
			if n, err := resp.Body.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("read %d bytes, %v", n, err)
			}
		}
		begin := time.Now()
		if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, errStalled) || time.Since(begin) != idleTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// TestStallIsRepeated: over real connections, which must come free. On a machine that is
// busy more than one request may stand still.
func TestStallIsRepeated(t *testing.T) {
	const size = 8 << 20 // more than the buffers on the way hold
	stop := make(chan struct{})
	var sent, asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests := map[string]*atomic.Int64{http.MethodPut: &sent, http.MethodGet: &asked}[r.Method]
		if requests.Add(1) == 1 {
			w.Header().Set("Content-Length", "10")
			if r.Method == http.MethodGet {
				_, _ = w.Write([]byte("abcde"))
				w.(http.Flusher).Flush()
			}
			<-stop
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			_, _ = w.Write([]byte("abcdefghij"))
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	defer close(stop)
	var dialer net.Dialer
	next := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
		}
		return conn, err
	}}
	c, err := New(srv.URL, Options{
		Transport: &stallGuard{next: next, idle: 500 * time.Millisecond, answer: time.Minute},
		Attempts:  1000,
		Sleep:     func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	u := c.base
	u.Path = "/v2/a"
	put := request{method: http.MethodPut, url: &u, label: "/v2/a", header: http.Header{}, body: bytesBody(make([]byte, size)), size: size}
	if err := c.store(t.Context(), put); err != nil || sent.Load() < 2 {
		t.Errorf("PUT: %v, %d requests", err, sent.Load())
	}
	got, err := c.read(t.Context(), request{method: http.MethodGet, url: &u, label: "/v2/a", header: http.Header{}}, 100)
	if err != nil || string(got.body) != "abcdefghij" || asked.Load() < 2 {
		t.Errorf("GET: %q, %v, %d requests", got.body, err, asked.Load())
	}
}
