package idle_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/idle"
)

// TestHTTP2: the limits are those of a stream, and leave the other streams of the connection alone.
func TestHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r = idle.Watch(w, r, idle.Limits{Body: short, Answer: 10 * short})
		switch r.URL.Path {
		case "/body":
			_, err := io.Copy(io.Discard, r.Body)
			report(w, r, err)
		case "/work": // longer than the limit of the body that has ended
			_, err := io.Copy(io.Discard, r.Body)
			select {
			case <-r.Context().Done():
				err = r.Context().Err()
			case <-time.After(5 * short):
			}
			report(w, r, err)
		case "/large":
			for b := make([]byte, 1<<20); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	s.Client().Timeout = long
	send := func(path string, body io.Reader) *http.Response {
		t.Helper()
		resp, err := s.Client().Post(s.URL+path, "application/octet-stream", body)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.ProtoMajor != 2 {
			t.Errorf("%s: %s", path, resp.Proto)
		}
		return resp
	}
	large := send("/large", nil) // not read yet
	stalled, end := io.Pipe()
	defer end.Close()
	if got := send("/body", stalled); got.StatusCode != http.StatusRequestTimeout {
		t.Errorf("a body that stalls: %s", got.Status)
	}
	if got, _ := io.ReadAll(send("/work", strings.NewReader("x")).Body); string(got) != "not stalled: <nil>" {
		t.Errorf("work after the body: %s", got)
	}
	time.Sleep(20 * short)
	if n, err := io.CopyN(io.Discard, large.Body, 64<<20); err == nil {
		t.Errorf("an answer that was not read goes on: %d bytes", n)
	}
}
