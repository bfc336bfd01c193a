package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// TestTwoProcesses: two registries over one store, which share nothing else. 100
// images under 100 tags of one repository, then 100 artifacts on one subject, 8 at
// a time: each that was accepted is listed and can be pulled.
func TestTwoProcesses(t *testing.T) {
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	var sites []*site
	for range 2 {
		reg := registry.New(meta, blobs, registry.Options{Log: quiet})
		sites = append(sites, &site{t: t, handler: server.All(reg, server.Options{Log: quiet, ServeBlobs: true})})
	}
	config := sites[0].pushBlob("app", []byte("{}"))
	subject := oci.SHA256.FromBytes([]byte("subject"))
	const pushes = 100
	eightAtATime(pushes, func(i int) {
		m := marshal(map[string]any{"config": descriptor("x/y", config, 2), "layers": []any{}, "n": i})
		sites[i%2].pushManifest("app", fmt.Sprintf("v%03d", i), m)
	})
	eightAtATime(pushes, func(i int) {
		m := marshal(map[string]any{"config": descriptor("x/y", config, 2), "subject": descriptor("x/y", subject, 7), "n": i})
		sites[i%2].pushManifest("app", string(oci.SHA256.FromBytes(m)), m)
	})
	var tags struct{ Tags []string }
	var index oci.Index
	for path, into := range map[string]any{"/v2/app/tags/list": &tags, "/v2/app/referrers/" + string(subject): &index} {
		if err := json.Unmarshal(sites[1].do("GET", path, nil).want(t, http.StatusOK).body, into); err != nil {
			t.Fatal(err)
		}
	}
	if len(tags.Tags) != pushes || len(index.Manifests) != pushes {
		t.Errorf("%d tags and %d referrers, want %d of each", len(tags.Tags), len(index.Manifests), pushes)
	}
	for _, tag := range tags.Tags {
		sites[0].do("GET", "/v2/app/manifests/"+tag, nil).want(t, http.StatusOK)
	}
}

// TestUploadAcrossProcesses: each request of an upload meets another process.
func TestUploadAcrossProcesses(t *testing.T) {
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	next := func() *site {
		reg := registry.New(meta, blobs, registry.Options{Log: quiet})
		return &site{t: t, handler: server.All(reg, server.Options{Log: quiet, ServeBlobs: true})}
	}
	at := next().start("a")
	for first := 0; first < len(content); first += 9000 {
		next().do("PATCH", at, bytes.NewReader(content[first:first+9000]), "Content-Range", contentRange(first, 9000)).want(t, http.StatusAccepted)
		next().do("GET", at, nil).want(t, http.StatusNoContent)
	}
	d := oci.SHA256.FromBytes(content)
	next().do("PUT", at+"?digest="+string(d), nil).want(t, http.StatusCreated)
	if !bytes.Equal(next().blob("a", d), content) {
		t.Error("other bytes came back")
	}
}

func eightAtATime(n int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}
