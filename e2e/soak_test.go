//go:build e2e && soak

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/loopback"
	"github.com/pierless/pierless/internal/sources"
)

// soakGrace is the grace of the soak: garbage is freed while its image is pushed again.
const soakGrace = 5 * time.Second

// soakClients is the number of clients of each store. Every tenth is "pierless push".
const soakClients = 20

// soak is a registry under load whose processes are killed, and the record of everything that it
// has acknowledged. Clients and record share no code with the registry.
type soak struct {
	store   string
	servers []*server
	rec     *record
	client  *http.Client
	layers  [][]byte         // which images share
	images  []*testImage     // of "pierless push"
	ticks   <-chan time.Time // of actions; nil: there is no limit

	mu     sync.Mutex
	counts map[string]int // of events
}

// TestSoak runs mixed clients at full speed, with a sweep every second and a grace of seconds, while
// processes are killed and started again. No push may fail that the protocol allows, and in the end
// everything acknowledged must be there, byte for byte. Then all is deleted, and nothing may be left.
//
// PIERLESS_SOAK is the duration, PIERLESS_SOAK_RATE the number of actions in a second of all clients
// of a store (0: as many as possible).
func TestSoak(t *testing.T) {
	duration, err := time.ParseDuration(os.Getenv("PIERLESS_SOAK"))
	if err != nil {
		t.Fatalf("PIERLESS_SOAK: %v (run make soak)", err)
	}
	rate, err := strconv.ParseFloat(os.Getenv("PIERLESS_SOAK_RATE"), 64)
	if err != nil {
		rate = 0
	}
	sources.Track(t, "..")
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			startSoak(t, store, rate).run(t, duration)
		})
	}
}

// startSoak starts one process on the embedded store, which no two can share, or three on LocalStack.
func startSoak(t *testing.T, store string, rate float64) *soak {
	flags := []string{"--grace", soakGrace.String(), "--sweep-interval", "1s", "--log", "json", "--request-log=false"}
	s := &soak{store: store, rec: newRecord(), counts: map[string]int{}}
	s.servers = []*server{newServer(t, store, flags...)}
	if store == "localstack" {
		s.servers = append(s.servers, beside(t, s.servers[0]), beside(t, s.servers[0]))
	}
	for _, server := range s.servers {
		server.keep(t)
	}
	s.client = &http.Client{
		Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: soakClients, DisableCompression: true},
	}
	for i := range 16 {
		s.layers = append(s.layers, soakContent(uint64(i), 500<<(i%8)))
	}
	s.layers = append(s.layers, soakContent(100, 6*mib)) // more than one part
	for i := range 3 {
		s.images = append(s.images, buildLayout(t, t.TempDir(), int64(50*kib+i*3*mib)))
	}
	if rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / rate))
		t.Cleanup(ticker.Stop)
		s.ticks = ticker.C
	}
	return s
}

// beside returns another process on the bucket and the table of a server.
func beside(t *testing.T, first *server) *server {
	t.Helper()
	s := *first
	s.host, s.log = loopback.FreeAddress(t), filepath.Join(t.TempDir(), "log")
	s.env = append(slices.Clone(first.env), "PIERLESS_LISTEN="+s.host)
	return &s
}

// soakContent returns bytes that cannot be compressed and are the same for the same seed.
func soakContent(seed uint64, size int) []byte {
	content := make([]byte, size)
	key := [32]byte{}
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	rand.NewChaCha8(key).Read(content)
	return content
}

func (s *soak) run(t *testing.T, duration time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var clients sync.WaitGroup
	for i := range soakClients {
		home := t.TempDir()
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
			c := &soakClient{soak: s, t: t, id: i, home: home, rng: rng}
			for s.next(ctx) && !t.Failed() {
				c.act()
			}
		})
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		s.killAtRandom(ctx, t)
	}()
	clients.Wait()
	<-killed
	freed := 0
	for _, server := range s.servers {
		freed += freedByLog(t, server.log)
	}
	s.stopAll(syscall.SIGKILL)
	s.scrub(t)
	s.startAll(t)
	if t.Failed() {
		return
	}
	s.check(t)
	s.deleteAll(t)
	s.awaitEmpty(t)
	s.stopAll(syscall.SIGTERM)
	s.servers[0].checkEmpty(t, "-unrecorded")
	s.scrub(t)
	s.report(t, duration, freed)
}

// next waits until the next action may begin. It returns false at the end.
func (s *soak) next(ctx context.Context) bool {
	if s.ticks != nil {
		select {
		case <-s.ticks:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// killAtRandom kills a process every few seconds and starts it again.
func (s *soak) killAtRandom(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil && !t.Failed() {
		sleep(ctx, time.Second+rand.N(4*time.Second))
		victim := s.servers[rand.IntN(len(s.servers))]
		victim.stop(syscall.SIGKILL)
		s.count("kills")
		sleep(ctx, rand.N(time.Second))
		victim.start(t)
	}
}

func (s *soak) stopAll(signal syscall.Signal) {
	for _, server := range s.servers {
		server.stop(signal)
	}
}

func (s *soak) startAll(t *testing.T) {
	for _, server := range s.servers {
		server.start(t)
	}
}

// deleteAll deletes every manifest that was ever sent: those of moved tags too, which no list of
// the API has.
func (s *soak) deleteAll(t *testing.T) {
	s.each(s.rec.all(), func(c *soakClient, m *soakManifest) { c.deleteManifest(m) }, t)
}

// each calls a function for each manifest, some at a time.
func (s *soak) each(manifests []*soakManifest, do func(*soakClient, *soakManifest), t *testing.T) {
	queue := make(chan *soakManifest, len(manifests))
	for _, m := range manifests {
		queue <- m
	}
	close(queue)
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			c := &soakClient{soak: s, t: t, rng: rand.New(rand.NewPCG(uint64(i), 0))}
			for m := range queue {
				do(c, m)
			}
		})
	}
	workers.Wait()
}

// awaitEmpty waits until the catalog is empty: after two graces and the sweep that follows.
func (s *soak) awaitEmpty(t *testing.T) {
	t.Helper()
	start := time.Now()
	c := &soakClient{soak: s, t: t, rng: rand.New(rand.NewPCG(0, 0))}
	var body []byte
	for time.Since(start) < 2*soakGrace+time.Minute {
		body = c.request(request{method: "GET", path: "/v2/_catalog"}).body
		if strings.TrimSpace(string(body)) == `{"repositories":[]}` {
			t.Logf("the catalog is empty after %v", time.Since(start).Round(100*time.Millisecond))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the catalog in the end: %s", body)
}

// scrub compares all objects with all rows, while no process runs.
func (s *soak) scrub(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t, "pierless"), "scrub", "--hash", "--rate", "0")
	cmd.Env = s.servers[0].env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("scrub: %v\n%s", err, out)
	}
}

// report writes the counts, and fails if the soak was too tame.
func (s *soak) report(t *testing.T, duration time.Duration, freed int) {
	s.counts["objects freed under load"] = freed
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(&text, "\n%8d %s", s.counts[name], name)
	}
	t.Logf("%s, %v:%s", s.store, duration, &text)
	needed := []string{"kills", "images pushed", "images deleted", "images pulled", "objects freed under load"}
	if s.ticks == nil {
		needed = append(needed, "uploads resumed", "uploads cancelled")
	}
	for _, name := range needed {
		if s.counts[name] == 0 {
			t.Errorf("the soak was too tame: no %s", name)
		}
	}
}

func (s *soak) count(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[event]++
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
