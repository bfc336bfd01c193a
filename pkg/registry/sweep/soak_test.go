//go:build soak

package sweep_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
	"github.com/pierless/pierless/pkg/server"
)

// soakGrace is the grace of the soak: garbage is collected while its image is pushed again.
const soakGrace = 5 * time.Second

// pushers is the number of clients of the soak.
const pushers = 20

// soak is a registry under load, and a record of the images that it has acknowledged. The client
// shares no code with the registry.
type soak struct {
	t      *testing.T
	url    string
	client *http.Client
	layers [][]byte

	mu     sync.Mutex
	images map[string][]byte // acknowledged manifests by tag; each pusher has its own tags

	pushed, deleted atomic.Int64
}

// TestSoak pushes a few images by many clients at once, moves and deletes their tags, and sweeps all
// the time with a grace of seconds. PIERLESS_SOAK is the duration, one minute by default. No push may
// fail, and everything acknowledged must be pulled in the end. When all is deleted, nothing is left.
func TestSoak(t *testing.T) {
	duration := time.Minute
	if text := os.Getenv("PIERLESS_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	open := func() *registry.Registry {
		return registry.New(meta, blobs, registry.Options{Grace: soakGrace, Log: quiet})
	}
	// Two processes serve, and two others sweep.
	var next atomic.Int64
	var servers []http.Handler
	for range 2 {
		servers = append(servers, server.All(open(), server.Options{Log: quiet, ServeBlobs: true}))
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		servers[int(next.Add(1))%len(servers)].ServeHTTP(w, r)
	}))
	defer site.Close()
	s := &soak{t: t, url: site.URL, client: site.Client(), images: map[string][]byte{}}
	for i := range 12 {
		s.layers = append(s.layers, bytes.Repeat(fmt.Append(nil, "layer ", i, "\n"), 1+i*i*100))
	}
	ctx, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	sweepCtx, stopSweeps := context.WithCancel(t.Context())
	var freed atomic.Int64
	var sweeps, work sync.WaitGroup
	for range 2 {
		reg := open()
		sweeps.Go(func() {
			for sweepCtx.Err() == nil {
				report, err := sweep.Run(sweepCtx, reg, nil)
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("sweep: %v", err)
				}
				freed.Add(int64(report.Garbage.Blobs))
			}
		})
	}
	for i := range pushers {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for ctx.Err() == nil && !t.Failed() {
				s.act(fmt.Sprintf("soak/r%d", i%3), fmt.Sprintf("t%d-%d", i, rng.IntN(3)), rng)
			}
		})
	}
	work.Wait()
	s.pullAll()
	s.deleteAll()
	time.Sleep(3 * soakGrace)
	stopSweeps()
	sweeps.Wait()
	if status, body := s.do("GET", "/v2/_catalog", nil, ""); status != http.StatusOK || strings.TrimSpace(string(body)) != `{"repositories":[]}` {
		t.Errorf("the catalog in the end: %d %s", status, body)
	}
	t.Logf("%d pushes, %d deletes, %d objects freed under load", s.pushed.Load(), s.deleted.Load(), freed.Load())
	if s.pushed.Load() == 0 || s.deleted.Load() == 0 || freed.Load() == 0 {
		t.Error("the soak was too tame")
	}
}

// act pushes an image of random layers to a tag, or deletes the image that the tag has.
func (s *soak) act(repo, tag string, rng *rand.Rand) {
	s.mu.Lock()
	manifest := s.images[repo+":"+tag]
	s.mu.Unlock()
	if manifest != nil && rng.IntN(3) == 0 {
		s.delete(repo, tag)
		return
	}
	first := rng.IntN(len(s.layers) - 3)
	s.push(repo, tag, s.layers[first:first+3])
	if rng.IntN(4) == 0 {
		time.Sleep(time.Duration(rng.Int64N(int64(2 * soakGrace))))
	}
}

func (s *soak) push(repo, tag string, layers [][]byte) {
	for _, layer := range append([][]byte{[]byte("{}")}, layers...) {
		d := digest(layer)
		status, _ := s.do("HEAD", "/v2/"+repo+"/blobs/"+d, nil, "")
		if status == http.StatusNotFound {
			status, _ = s.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, layer, "application/octet-stream")
		}
		if status != http.StatusOK && status != http.StatusCreated {
			s.t.Errorf("push of a blob: %d", status)
			return
		}
	}
	manifest := s.manifest(tag, layers)
	if status, body := s.do("PUT", "/v2/"+repo+"/manifests/"+tag, manifest, imageManifest); status != http.StatusCreated {
		s.t.Errorf("push of %s:%s is refused: %d %s", repo, tag, status, body)
		return
	}
	s.pushed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[repo+":"+tag] = manifest
}

const imageManifest = "application/vnd.oci.image.manifest.v1+json"

// manifest is that of an image with these layers. It has the tag, so that no two pushers push one
// manifest: a delete by digest would end the other's tag.
func (s *soak) manifest(tag string, layers [][]byte) []byte {
	var descriptors []string
	for _, content := range append([][]byte{[]byte("{}")}, layers...) {
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, digest(content), len(content)))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"annotations":{"tag":%q}}`,
		imageManifest, descriptors[0], strings.Join(descriptors[1:], ","), tag)
}

// delete deletes the image of a tag by its digest. Older images of the tag stay: they are garbage of
// the registry's users, and deleteAll ends them.
func (s *soak) delete(repo, tag string) {
	s.mu.Lock()
	manifest := s.images[repo+":"+tag]
	delete(s.images, repo+":"+tag)
	s.mu.Unlock()
	if status, body := s.do("DELETE", "/v2/"+repo+"/manifests/"+digest(manifest), nil, ""); status != http.StatusAccepted {
		s.t.Errorf("delete of %s:%s: %d %s", repo, tag, status, body)
		return
	}
	s.deleted.Add(1)
}

// pullAll pulls everything that was acknowledged, and compares the bytes.
func (s *soak) pullAll() {
	for name, manifest := range s.images {
		repo, tag := name[:len("soak/r0")], name[len("soak/r0:"):]
		status, got := s.do("GET", "/v2/"+repo+"/manifests/"+tag, nil, "")
		if status != http.StatusOK || !bytes.Equal(got, manifest) {
			s.t.Errorf("%s is lost: %d", name, status)
		}
		var parsed struct{ Layers []struct{ Digest string } }
		if err := json.Unmarshal(manifest, &parsed); err != nil {
			s.t.Fatal(err)
		}
		for _, layer := range parsed.Layers {
			status, content := s.do("GET", "/v2/"+repo+"/blobs/"+layer.Digest, nil, "")
			if status != http.StatusOK || digest(content) != layer.Digest {
				s.t.Errorf("a layer of %s is lost: %d, %d bytes", name, status, len(content))
			}
		}
	}
}

// deleteAll deletes every manifest of the registry: those of moved tags too, which no list of the
// API has. The soak knows all manifests that it can have pushed.
func (s *soak) deleteAll() {
	for i := range 3 {
		repo := fmt.Sprintf("soak/r%d", i)
		for pusher := range pushers {
			for n := range 3 {
				tag := fmt.Sprintf("t%d-%d", pusher, n)
				for first := range len(s.layers) - 3 {
					if pusher%3 == i {
						s.do("DELETE", "/v2/"+repo+"/manifests/"+digest(s.manifest(tag, s.layers[first:first+3])), nil, "")
					}
				}
			}
		}
	}
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func (s *soak) do(method, path string, body []byte, mediaType string) (status int, answer []byte) {
	r, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, answer
}
