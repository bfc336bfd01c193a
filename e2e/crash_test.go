//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
)

// TestKillInChunkedUpload kills the registry while it receives a chunk: confirmed chunks survive
// a restart, and the upload continues from there.
func TestKillInChunkedUpload(t *testing.T) {
	const (
		chunk = 8 * mib
		size  = 5*chunk + 123
	)
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			upload := s.startUpload(t, "e2e/chunked")
			for at := int64(0); at < 2*chunk; at += chunk {
				upload = s.appendChunk(t, upload, at, at+chunk, newNoise(1, at, at+chunk))
			}
			s.killWhileSending(t, upload, fmt.Sprintf("%d-%d", 2*chunk, 3*chunk-1), newNoise(1, 2*chunk, 3*chunk), chunk/2)
			s.restart(t)

			upload, have := s.received(t, upload)
			if have < 2*chunk || have > 3*chunk {
				t.Fatalf("after the restart there are %d bytes, want the %d that were confirmed", have, 2*chunk)
			}
			t.Logf("confirmed %d, found %d", 2*chunk, have)
			for at := have; at < size; at += chunk {
				end := min(at+chunk, size)
				upload = s.appendChunk(t, upload, at, end, newNoise(1, at, end))
			}
			s.finishAndCheck(t, store, upload, "e2e/chunked", 1, size)
		})
	}
}

// TestKillInStreamedUpload kills the registry during the single long request that docker sends:
// the session survives and accepts the rest.
func TestKillInStreamedUpload(t *testing.T) {
	const size = 100 * 1000 * 1000
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			upload := s.startUpload(t, "e2e/streamed")
			s.killWhileSending(t, upload, "", newNoise(2, 0, size), size*6/10)
			s.restart(t)

			upload, have := s.received(t, upload)
			if have > size*6/10+mib {
				t.Fatalf("after the restart there are %d bytes, more than were sent", have)
			}
			t.Logf("sent %d, found %d", size*6/10, have)
			upload = s.appendStream(t, upload, newNoise(2, have, size))
			s.finishAndCheck(t, store, upload, "e2e/streamed", 2, size)
		})
	}
}

// killWhileSending starts a PATCH and kills the server when count bytes of the content have been
// read.
func (s *server) killWhileSending(t *testing.T, upload, contentRange string, content io.Reader, count int64) {
	t.Helper()
	// MultiReader hides the length: with it the client might send everything at once.
	body := io.MultiReader(io.LimitReader(content, count), &killer{s: s}, content)
	resp, err := s.send("PATCH", upload, contentRange, body)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("PATCH to a killed server: %s", resp.Status)
	}
}

// killer is an empty reader that kills the server when it is read.
type killer struct{ s *server }

func (k *killer) Read([]byte) (int, error) {
	k.s.stop(syscall.SIGKILL)
	return 0, io.EOF
}

// finishAndCheck completes the upload of noise and reads the blob back.
func (s *server) finishAndCheck(t *testing.T, store, upload, repo string, seed byte, size int64) string {
	t.Helper()
	digest := noiseDigest(t, seed, size)
	s.finishUpload(t, upload, digest)
	s.checkBlobAnswer(t, store, repo, digest)
	resp, err := s.send("GET", "/v2/"+repo+"/blobs/"+digest, "", nil)
	must(t, err)
	defer resp.Body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, resp.Body)
	must(t, err)
	got := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	if resp.StatusCode != http.StatusOK || n != size || got != digest {
		t.Fatalf("GET blob: %s, %d bytes, %s; want %d bytes, %s", resp.Status, n, got, size, digest)
	}
	return digest
}

func noiseDigest(t *testing.T, seed byte, size int64) string {
	t.Helper()
	hash := sha256.New()
	_, err := io.Copy(hash, newNoise(seed, 0, size))
	must(t, err)
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}
