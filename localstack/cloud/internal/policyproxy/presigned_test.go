package policyproxy

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestPresignedPutStreams: the store receives the first bytes of a body, with the signed
// headers, before the client has sent the last, and the bytes are counted separately from
// the function's own.
func TestPresignedPutStreams(t *testing.T) {
	w := newWorld(t, allow("s3:PutObject", "arn:aws:s3:::bytes/blobs/*"))
	const half = 1 << 20
	began := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.seen = r
		if _, err := io.ReadFull(r.Body, make([]byte, half)); err != nil {
			t.Errorf("the first half: %v", err)
		}
		close(began)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, "stored")
	}))
	t.Cleanup(upstream.Close)
	address, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := New(address, w.config, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)

	signed := presignPut(t, w.s3)
	target := strings.Replace(signed, w.server.URL, server.URL, 1)
	body, send := io.Pipe()
	go func() {
		_, _ = send.Write(make([]byte, half))
		<-began // a proxy that waits for the whole body never gets here
		_, _ = send.Write(make([]byte, half))
		_ = send.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, target, body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 2 * half
	request.Header.Set("If-None-Match", "*")
	request.Header.Set("X-Amz-Checksum-Sha256", "c3Vt")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if w.seen.ContentLength != 2*half || len(w.seen.TransferEncoding) > 0 || w.seen.Header.Get("If-None-Match") != "*" ||
		w.seen.Header.Get("X-Amz-Checksum-Sha256") != "c3Vt" || w.seen.URL.RequestURI() != strings.TrimPrefix(signed, w.server.URL) {
		t.Errorf("what is signed was changed: %d %v %v %s", w.seen.ContentLength, w.seen.TransferEncoding, w.seen.Header, w.seen.URL)
	}
	server.Close() // bytes are counted at the end of the request, shortly after the response
	if s := proxy.Stats()["F"]; s.Presigned != 1 || s.PresignedIn != 2*half || s.PresignedOut != int64(len("stored")) || s.BytesIn != 0 || len(s.Calls) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPresignedPutNeedsThePresignersPolicy: a URL has the permissions of its function.
func TestPresignedPutNeedsThePresignersPolicy(t *testing.T) {
	for statement, want := range map[string]int{"s3:PutObject": http.StatusOK, "s3:GetObject": http.StatusForbidden} {
		w := newWorld(t, allow(statement, "arn:aws:s3:::bytes/blobs/*"))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, presignPut(t, w.s3), strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want || (w.seen != nil) != (want == http.StatusOK) {
			t.Errorf("%s alone: %s, passed on is %v", statement, response.Status, w.seen != nil)
		}
	}
}

func presignPut(t *testing.T, client *s3.Client) string {
	t.Helper()
	signed, err := s3.NewPresignClient(client).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: aws.String("blobs/x")})
	if err != nil {
		t.Fatal(err)
	}
	return signed.URL
}
