package s3blobs

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// fakeS3 keeps objects and takes parts, and lets a test say how it fails.
type fakeS3 struct {
	t  *testing.T
	mu sync.Mutex

	objects map[string][]byte
	calls   map[string]int
	// fail answers a call in another way; false: it does not. It may wait.
	fail func(call string, count int, w http.ResponseWriter, r *http.Request) bool
	// cut is how many bytes of an object pass before the connection breaks; below 0: all.
	cut func(count int) int
}

func newFake(t *testing.T, change func(*Options)) (*fakeS3, *Blobs) {
	t.Helper()
	f := &fakeS3{
		t: t, objects: map[string][]byte{}, calls: map[string]int{},
		fail: func(string, int, http.ResponseWriter, *http.Request) bool { return false },
		cut:  func(int) int { return -1 },
	}
	b := on(t, f.serve)
	opts := Options{}
	if change != nil {
		change(&opts)
	}
	client := s3.New(b.client.Options(), func(o *s3.Options) {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported // as from a configuration
	})
	return f, New(client, "bucket", opts)
}

// called is how many calls of a kind there were.
func (f *fakeS3) called(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

func (f *fakeS3) put(key string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects["/bucket/"+key] = content
}

func (f *fakeS3) get(path string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[path]
}

func kindOf(r *http.Request) string {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Has("uploads"):
		return "create"
	case r.Method == http.MethodPost:
		return "complete"
	case query.Has("partNumber"):
		return "part"
	}
	return r.Method
}

func (f *fakeS3) serve(w http.ResponseWriter, r *http.Request) {
	call := kindOf(r)
	f.mu.Lock()
	f.calls[call]++
	count := f.calls[call]
	f.mu.Unlock()
	if f.fail(call, count, w, r) {
		return
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client gave up
	}
	sum := md5.Sum(content)
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sum)))
	switch call {
	case "create":
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case http.MethodPut:
		f.put(r.URL.Path[len("/bucket/"):], content)
	case http.MethodGet:
		f.send(w, r, count)
	case "part", "complete", http.MethodDelete:
	}
}

func (f *fakeS3) send(w http.ResponseWriter, r *http.Request, count int) {
	content := f.get(r.URL.Path)
	sum := md5.Sum(content)
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sum)))
	if r.Header.Get("Range") == "" {
		w.Header().Set("X-Amz-Checksum-Crc32", crc(content))
	}
	cut := f.cut(count)
	if cut >= 0 {
		w = &cutting{w, cut}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	if cut >= 0 {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func crc(content []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content)))
}

// cutting passes the first bytes on and swallows the rest.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	c.left -= n
	if err != nil {
		return n, err
	}
	return len(p), nil
}

func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// refuse answers with an error of S3.
func refuse(w http.ResponseWriter, status int, code string) bool {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
	return true
}
