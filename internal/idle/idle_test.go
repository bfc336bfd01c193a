package idle_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	short = 50 * time.Millisecond
	long  = time.Minute // no test waits for it
)

// serve runs a handler behind limits and returns its address.
func serve(t *testing.T, limits idle.Limits, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r = idle.Watch(w, r, limits)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// dial sends the beginning of a connection.
func dial(t *testing.T, address, begin string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, begin)
	return conn
}

// answer reads one answer of a connection.
func answer(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

const stalls = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"

// wantClosed fails the test unless the server ends the connection.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stays open: %v", err)
	}
}

func report(w http.ResponseWriter, r *http.Request, read error) {
	var stalled *oci.Error
	if !errors.As(idle.Stalled(r), &stalled) {
		fmt.Fprint(w, "not stalled: ", read)
		return
	}
	if !errors.Is(read, stalled) {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	w.WriteHeader(stalled.Status)
}

// TestBodyStalls: the read ends, the handler learns why, and the client gets the answer.
func TestBodyStalls(t *testing.T) {
	for _, begin := range []string{stalls, "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx"} {
		stalled, sent := make(chan bool), make(chan bool)
		conn := dial(t, serve(t, idle.Limits{Body: short, Answer: long}, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			stalled <- true
			<-sent
			if _, again := r.Body.Read(make([]byte, 1)); again == nil {
				t.Error("the body can be read after it has stalled")
			}
			report(w, r, err)
		}), begin)
		<-stalled
		fmt.Fprint(conn, "x")
		sent <- true
		if resp, body := answer(t, conn); resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%q: %s %s", begin, resp.Status, body)
		}
		wantClosed(t, conn)
	}
}

// TestBodySlow: a client that sends slowly, for longer than the limit, has not stalled, and
// the connection can be used again.
func TestBodySlow(t *testing.T) {
	const limit = 2 * time.Second
	conn := dial(t, serve(t, idle.Limits{Body: limit, Answer: long}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		report(w, r, err)
	}), "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
	for range 6 {
		time.Sleep(limit / 4)
		fmt.Fprint(conn, "x")
	}
	if resp, body := answer(t, conn); resp.StatusCode != http.StatusOK || body != "not stalled: <nil>" {
		t.Errorf("%s %s", resp.Status, body)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, body := answer(t, conn); resp.StatusCode != http.StatusOK || body != "not stalled: <nil>" {
		t.Errorf("the next request: %s %s", resp.Status, body)
	}
}

// TestBodyEnded: work after the body has no limit, although net/http then reads to detect
// that the client disconnects.
func TestBodyEnded(t *testing.T) {
	conn := dial(t, serve(t, idle.Limits{Body: short, Answer: long}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			err = r.Context().Err()
		case <-time.After(10 * short):
		}
		report(w, r, err)
	}), "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	if resp, body := answer(t, conn); resp.StatusCode != http.StatusOK || body != "not stalled: <nil>" {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// TestBodyUnread: net/http reads the rest of a body, with a limit too.
func TestBodyUnread(t *testing.T) {
	conn := dial(t, serve(t, idle.Limits{Body: short, Answer: long}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}), stalls)
	if resp, _ := answer(t, conn); resp.StatusCode != http.StatusNoContent {
		t.Error(resp.Status)
	}
	wantClosed(t, conn)
}

// TestDrain ends after a number of bytes, and after a time.
func TestDrain(t *testing.T) {
	var left int
	handler := func(limit int64, within time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			idle.Drain(r, limit, within)
			rest, _ := io.ReadAll(r.Body)
			left = len(rest)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	const whole = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789"
	for _, c := range []struct {
		name, begin string
		handler     http.HandlerFunc
		idle        time.Duration
		left        int
	}{
		{"whole", whole, handler(100, long), long, 0},
		{"bytes", whole, handler(4, long), long, 5},
		{"time", stalls, handler(100, short), 2 * long, 0},
		{"idle", stalls, handler(100, 2*long), short, 0},
	} {
		conn := dial(t, serve(t, idle.Limits{Body: c.idle, Answer: long}, c.handler), c.begin)
		if resp, _ := answer(t, conn); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", c.name, resp.Status)
		}
		if left != c.left {
			t.Errorf("%s: %d bytes are left, want %d", c.name, left, c.left)
		}
	}
	idle.Drain(httptest.NewRequest(http.MethodPut, "/", strings.NewReader("x")), 1, short) // not watched: as on Lambda
	idle.Drain(&http.Request{}, 1, short)
}

// TestAnswerStalls: a client that reads nothing ends the answer, whether the bytes come from
// memory or from a file.
func TestAnswerStalls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 1<<30); err != nil { // more than any buffer
		t.Fatal(err)
	}
	for name, send := range map[string]func(io.Writer, *os.File) (int64, error){
		"memory": func(w io.Writer, f *os.File) (int64, error) { return io.Copy(struct{ io.Writer }{w}, f) },
		"file":   func(w io.Writer, f *os.File) (int64, error) { return io.Copy(w, f) },
		"piece":  func(w io.Writer, f *os.File) (int64, error) { return io.CopyN(w, f, 1<<29) },
	} {
		ended := make(chan error, 1)
		dial(t, serve(t, idle.Limits{Body: long, Answer: short}, func(w http.ResponseWriter, _ *http.Request) {
			f, err := os.Open(file)
			if err == nil {
				defer f.Close()
				w.Header().Set("Content-Length", fmt.Sprint(1<<30))
				_, err = send(w, f)
			}
			ended <- err
		}), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(long):
			t.Fatalf("%s: the answer continues", name)
		}
	}
}

// TestHeadersStall: a client that sends requests and reads no answers is disconnected.
func TestHeadersStall(t *testing.T) {
	conn := dial(t, serve(t, idle.Limits{Body: long, Answer: short}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 64<<10))
		w.WriteHeader(http.StatusNoContent)
	}), "")
	for {
		_, err := fmt.Fprint(conn, strings.Repeat("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 10))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection stays open")
		}
		if err != nil {
			return
		}
	}
}

// TestAnswerSlow: each write extends the limit, and each request of a connection starts it
// again.
func TestAnswerSlow(t *testing.T) {
	const limit = 2 * time.Second
	address := serve(t, idle.Limits{Body: long, Answer: limit}, func(w http.ResponseWriter, _ *http.Request) {
		for range 6 {
			time.Sleep(limit / 4)
			fmt.Fprint(w, "x")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
	})
	conn := dial(t, address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, body := answer(t, conn); body != "xxxxxx" {
		t.Errorf("%q", body)
	}
	time.Sleep(limit * 5 / 4) // the last deadline passes
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if _, body := answer(t, conn); body != "xxxxxx" {
		t.Errorf("the next answer: %q", body)
	}
}

// TestHeadersAlone: an answer without a body has its own deadline, not that of the
// previous answer on the connection.
func TestHeadersAlone(t *testing.T) {
	const limit = time.Second
	address := serve(t, idle.Limits{Body: long, Answer: limit}, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(limit * 5 / 4)
		if r.Method == http.MethodPut {
			_, _ = io.Copy(io.Discard, r.Body) // net/http sends "100 Continue" first
			w.WriteHeader(http.StatusCreated)
		}
	})
	conn := dial(t, address, "")
	for range 2 {
		fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
		if resp, _ := answer(t, conn); resp.StatusCode != http.StatusCreated {
			t.Fatal(resp.Status)
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, _ := answer(t, conn); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
}

// kernel replaces net/http's ResponseWriter and records the file that it gets.
type kernel struct {
	*httptest.ResponseRecorder
	sources []io.Reader
}

func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	k.sources = append(k.sources, r)
	return io.Copy(k.ResponseRecorder, r)
}

// TestFilesReachTheKernel: net finds the file behind one io.LimitedReader only.
func TestFilesReachTheKernel(t *testing.T) {
	content := bytes.Repeat([]byte("pierless"), 100_000)
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 1, 256 << 10, 256<<10 + 1, int64(len(content)), int64(len(content)) + 1} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		k := &kernel{ResponseRecorder: httptest.NewRecorder()}
		w, _ := idle.Watch(k, httptest.NewRequest(http.MethodGet, "/", nil), idle.Default())
		got, err := w.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: f, N: n})
		want := content[:min(n, int64(len(content)))]
		if err != nil || got != int64(len(want)) || !bytes.Equal(k.Body.Bytes(), want) {
			t.Errorf("%d bytes: %d, %v", n, got, err)
		}
		for _, source := range k.sources {
			if limited, ok := source.(*io.LimitedReader); !ok || limited.R != io.Reader(f) {
				t.Errorf("%d bytes: the file is hidden in a %T", n, source)
			}
		}
		f.Close()
	}
}

// TestDefault: the default limits let clients pause that compress a layer or write to a slow
// disk.
func TestDefault(t *testing.T) {
	if l := idle.Default(); l.Body < time.Minute || l.Answer < time.Minute {
		t.Errorf("clients may pause for %+v", l)
	}
}
