package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBodyLimit(t *testing.T) {
	a := newAPI(t, nil)
	server := httptest.NewServer(a)
	defer server.Close()
	for size, want := range map[int]int{MaxBody: 200, MaxBody + 1: 413, 30 << 20: 413} {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, io.LimitReader(zeros{}, int64(size)))
		request.ContentLength = -1
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		if got := bodyOf(r); r.StatusCode != want || want == 413 && got != `{"message":"Request Entity Too Large"}` {
			t.Errorf("%d: %s %s", size, r.Status, got)
		}
		r.Body.Close()
	}
}

// TestRefusedBodyIsTaken: a client that reads only after it has sent the whole body gets
// the response.
func TestRefusedBodyIsTaken(t *testing.T) {
	server := httptest.NewServer(newAPI(t, nil))
	defer server.Close()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 64 << 20
	fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	if n, err := io.Copy(conn, io.LimitReader(zeros{}, size)); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%v, %v", r, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHeadLimit(t *testing.T) {
	a := newAPI(t, nil)
	server := httptest.NewServer(a)
	defer server.Close()
	send := func(head string) *http.Response {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, head)
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	head := func(size int) string {
		const begin, end = "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: ", "\r\n\r\n"
		return begin + strings.Repeat("a", size-len(begin+end)) + end
	}
	for size, want := range map[int]int{MaxHead: 200, MaxHead + 1: 431, 20000: 431} {
		if r := send(head(size)); r.StatusCode != want {
			t.Errorf("%d bytes: %s, want %d", size, r.Status, want)
		}
	}
}
