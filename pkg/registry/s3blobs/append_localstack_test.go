//go:build localstack

package s3blobs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

// A failed Append leaves neither a multipart upload nor a tail, and no buffer in use.
func TestFailedAppendLeavesNothing(t *testing.T) {
	c := client(t)
	name := bucket(t, c)
	blobs := s3blobs.New(c, name, s3blobs.Options{})
	gone := errors.New("the client is gone")
	body := io.MultiReader(bytes.NewReader(make([]byte, 25*mib)), broken{gone})
	if _, err := blobs.Append(t.Context(), key(), registry.Claim{Nonce: "n", Count: 9}, registry.Stored{}, body); !errors.Is(err, gone) {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	body = io.MultiReader(bytes.NewReader(make([]byte, 12*mib)), hook{cancel}, bytes.NewReader(make([]byte, 2*mib)))
	if _, err := blobs.Append(ctx, key(), registry.Claim{Nonce: "n", Count: 9}, registry.Stored{}, body); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	// A part is refused: the error is S3's, and body is not read to its end.
	refusing := s3blobs.New(client(t, refuse("UploadPart")), name, s3blobs.Options{Parallel: 1})
	rest := bytes.NewReader(make([]byte, 200*mib))
	if _, err := refusing.Append(t.Context(), key(), registry.Claim{Nonce: "n", Count: 99}, registry.Stored{}, rest); !errors.Is(err, errRefused) {
		t.Errorf("error is %v", err)
	}
	if rest.Len() == 0 {
		t.Error("body was read to its end")
	}
	if left := uploads(t, c, name); len(left) > 0 {
		t.Errorf("uploads are left: %v", left)
	}
	objects, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &name})
	if err != nil || len(objects.Contents) > 0 {
		t.Errorf("%d objects are left, %v", len(objects.Contents), err)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

type hook struct{ do func() }

func (h hook) Read([]byte) (int, error) { h.do(); return 0, io.EOF }

var errRefused = errors.New("refused")

func refuse(operation string) func(*s3.Options) {
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("refuse", func(
				ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
			) (middleware.FinalizeOutput, middleware.Metadata, error) {
				if middleware.GetOperationName(ctx) == operation {
					return middleware.FinalizeOutput{}, middleware.Metadata{}, errRefused
				}
				return next.HandleFinalize(ctx, in)
			}), middleware.Before)
		})
	}
}

// Numbers that a claim cannot give end an Append; the tail still has room.
func TestTooLarge(t *testing.T) {
	c := client(t)
	blobs := s3blobs.New(c, bucket(t, c), s3blobs.Options{})
	k := key()
	stored, err := blobs.Append(t.Context(), k, registry.Claim{Nonce: "1", First: 0, Count: 2}, registry.Stored{}, bytes.NewReader(make([]byte, 12*mib)))
	if err != nil {
		t.Fatal(err)
	}
	two := registry.Claim{Nonce: "2", First: 2, Count: 1}
	if _, err = blobs.Append(t.Context(), k, two, stored, bytes.NewReader(make([]byte, 30*mib))); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("error is %v", err)
	}
	three := registry.Claim{Nonce: "3", First: 1 << 40, Count: 1}
	if stored, err = blobs.Append(t.Context(), k, three, stored, bytes.NewReader(make([]byte, 10))); err != nil {
		t.Errorf("a tail needs no number: %v", err)
	}
	if err := blobs.Complete(t.Context(), k, stored); err != nil {
		t.Error(err)
	}
}

// What goes over the wire: content is not hashed to be signed, and is protected by
// checksums that leave the numbers of parts free.
func TestHeaders(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]http.Header{}
	for _, calculation := range []aws.RequestChecksumCalculation{
		aws.RequestChecksumCalculationWhenSupported, aws.RequestChecksumCalculationWhenRequired,
	} {
		c := client(t, func(o *s3.Options) {
			o.RequestChecksumCalculation = calculation
			o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
				return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("record", func(
					ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
				) (middleware.FinalizeOutput, middleware.Metadata, error) {
					mu.Lock()
					seen[middleware.GetOperationName(ctx)] = in.Request.(*smithyhttp.Request).Header.Clone()
					mu.Unlock()
					return next.HandleFinalize(ctx, in)
				}), middleware.After)
			})
		})
		blobs := s3blobs.New(c, bucket(t, c), s3blobs.Options{SSE: "AES256"})
		k := key()
		stored, err := blobs.Append(t.Context(), k, registry.Claim{Nonce: "n", Count: 9}, registry.Stored{}, bytes.NewReader(make([]byte, 11*mib)))
		if err != nil {
			t.Fatal(err)
		}
		if err := blobs.Complete(t.Context(), k, stored); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct{ operation, header, value string }{
			{"PutObject", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"},
			{"PutObject", "X-Amz-Server-Side-Encryption", "AES256"},
			{"PutObject", "Content-Md5", ""},
			{"CreateMultipartUpload", "X-Amz-Checksum-Algorithm", ""},
			{"CreateMultipartUpload", "X-Amz-Server-Side-Encryption", "AES256"},
			{"UploadPart", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"},
			{"UploadPart", "X-Amz-Checksum-Crc32", ""},
			{"UploadPart", "X-Amz-Trailer", ""},
			{"CompleteMultipartUpload", "If-None-Match", "*"},
		} {
			if got := seen[want.operation].Get(want.header); got != want.value {
				t.Errorf("%v: %s has %s: %q, want %q", calculation, want.operation, want.header, got, want.value)
			}
		}
		if seen["PutObject"].Get("X-Amz-Checksum-Crc32") == "" || seen["UploadPart"].Get("Content-Md5") == "" {
			t.Error("content has no checksum")
		}
	}
}

// Over TLS the SDK has ways of its own to send checksums; they must not show here.
func TestTLS(t *testing.T) {
	c := client(t, func(o *s3.Options) {
		o.BaseEndpoint = aws.String(strings.Replace(aws.ToString(o.BaseEndpoint), "http://", "https://", 1))
		o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
			tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // LocalStack signs for itself
		})
	})
	blobs := s3blobs.New(c, bucket(t, client(t)), s3blobs.Options{})
	content := bytes.Repeat([]byte("content "), 26*mib/8)
	k := key()
	stored, err := blobs.Append(t.Context(), k, registry.Claim{Nonce: "n", Count: 9}, registry.Stored{}, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if err := blobs.Complete(t.Context(), k, stored); err != nil {
		t.Fatal(err)
	}
	r, err := blobs.Open(t.Context(), k, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	have, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(have, content) {
		t.Errorf("%d bytes came back, %v", len(have), err)
	}
}

// BenchmarkAppend streams 256 MiB, the way a layer comes through `pierless serve`.
func BenchmarkAppend(b *testing.B) {
	const size = 256 * mib
	c := client(b)
	blobs := s3blobs.New(c, bucket(b, c), s3blobs.Options{})
	b.SetBytes(size)
	peak := watchMemory(b)
	for b.Loop() {
		k := key()
		stored, err := blobs.Append(b.Context(), k, registry.Claim{Nonce: "n", Count: 100}, registry.Stored{},
			io.LimitReader(endless{}, size))
		if err != nil {
			b.Fatal(err)
		}
		if err := blobs.Complete(b.Context(), k, stored); err != nil {
			b.Fatal(err)
		}
		if err := blobs.Delete(b.Context(), k); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(peak())/mib, "peak-MiB")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// watchMemory returns what the heap held at most, looked at every 5 ms.
func watchMemory(b *testing.B) (peak func() uint64) {
	b.Helper()
	stop, highest := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				highest <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-highest }
}
