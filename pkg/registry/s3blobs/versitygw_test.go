//go:build localstack

package s3blobs_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/loopback"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/registrytest"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
)

const (
	gatewayID     = "gateway"
	gatewaySecret = "gateway's secret"
)

// gateway starts versitygw on a folder of the test's own. It takes no request that is
// not signed; LocalStack takes each that has no signature, and any secret.
func gateway(t *testing.T) *s3.Client {
	t.Helper()
	program, err := filepath.Abs("../../../.cache/bin/versitygw")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatal("versitygw is not built: run scripts/versitygw.sh")
	}
	address := loopback.FreeAddress(t)
	data, metadata := t.TempDir(), t.TempDir() // beside it: not every file system has attributes
	var log bytes.Buffer
	server := exec.Command(program, "--access", gatewayID, "--secret", gatewaySecret, "--listen", address, "--sidecar", metadata, data)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("versitygw: %s", log.Bytes())
		}
	})
	waitUntilHealthy(t, "http://"+address+"/health", ended)
	return gatewayClient("http://"+address, gatewaySecret)
}

func gatewayClient(endpoint, secret string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(gatewayID, secret, ""),
	})
}

func waitUntilHealthy(t *testing.T, url string, ended <-chan struct{}) {
	t.Helper()
	var err error
	for range 3000 {
		var res *http.Response
		if res, err = http.Get(url); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(res.Status)
		}
		select {
		case <-ended:
			t.Fatal("versitygw has ended")
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("versitygw does not start: %v", err)
}

// TestSignedContract: no exception is made here for what versitygw cannot do, but
// uploads complete one after the other, as on LocalStack. (The rest of the contract of
// Blobs does not pass: it answers the second completion of an upload with success.)
func TestSignedContract(t *testing.T) {
	c := gateway(t)
	name := bucket(t, c)
	var one sync.Mutex
	registrytest.Direct(t, func(*testing.T) registry.Blobs { return newStore(c, name, s3blobs.Options{}, &one) })
}

// TestOnlySigned: without a signature, or with one made by somebody else, a request
// stores nothing.
func TestOnlySigned(t *testing.T) {
	c := gateway(t)
	name, k, content := bucket(t, c), key(), []byte("content")
	blobs := s3blobs.New(c, name, s3blobs.Options{})
	forged := s3blobs.New(gatewayClient(aws.ToString(c.Options().BaseEndpoint), "another secret"), name, s3blobs.Options{})
	stored, err := blobs.StartParts(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(b *s3blobs.Blobs) (put, part direct.Request) {
		d := oci.SHA256.FromBytes(content)
		put, err := b.PresignPut(t.Context(), k, d, int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		part, err = b.PresignPart(t.Context(), k, stored, direct.Part{Number: 1, Size: int64(len(content)), Digest: d})
		if err != nil {
			t.Fatal(err)
		}
		return put, part
	}
	put, part := sign(blobs)
	forgedPut, forgedPart := sign(forged)
	for what, r := range map[string]direct.Request{
		"forged PUT": forgedPut, "forged part": forgedPart,
		"PUT of anybody": unsigned(t, put), "part of anybody": unsigned(t, part),
	} {
		if status, answer := send(t, r, content); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, status, answer)
		}
	}
	if parts, err := blobs.ListParts(t.Context(), k, stored); err != nil || len(parts) > 0 {
		t.Errorf("parts %v, %v", parts, err)
	}
	if _, _, err := blobs.Stat(t.Context(), k, true); !errors.Is(err, registry.ErrNoContent) {
		t.Errorf("stat: %v", err)
	}
	for what, r := range map[string]direct.Request{"PUT": put, "part": part} {
		if status, answer := send(t, r, content); status != http.StatusOK {
			t.Errorf("%s: %d %s", what, status, answer)
		}
	}
}

// unsigned leaves of the URL what says which object and which part.
func unsigned(t *testing.T, r direct.Request) direct.Request {
	t.Helper()
	parsed, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	for name := range query {
		if strings.HasPrefix(name, "X-Amz-") {
			query.Del(name)
		}
	}
	parsed.RawQuery = query.Encode()
	r.URL = parsed.String()
	return r
}

func send(t *testing.T, r direct.Request, content []byte) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}
