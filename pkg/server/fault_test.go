package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/registrytest"
	"github.com/pierless/pierless/pkg/server"
)

// broken is a store that cannot be read.
type broken struct{ registry.Metadata }

func (broken) Get(context.Context, ...registry.Key) ([]registry.Row, error) {
	return nil, errors.New("secret host refused the connection")
}

// TestPushersOverFaults: pushers repeat failed requests, over a store that loses answers,
// fails, contends and applies writes late. Content whose push got 201 stays.
func TestPushersOverFaults(t *testing.T) {
	for seed := range uint64(6) {
		meta, blobs := storetest.Open(t)
		decide := registrytest.Random(seed, registrytest.Rates{Lost: 0.03, Failed: 0.03, Contended: 0.05, Late: 0.02, Read: 0.02})
		quiet := slog.New(slog.DiscardHandler)
		faulty := registry.New(registrytest.Faulty(meta, decide), registrytest.FaultyBlobs(blobs, decide), registry.Options{Log: quiet})
		s := &site{t: t, handler: server.All(faulty, server.Options{Log: quiet, ServeBlobs: true})}
		images := make([][]byte, 8)
		var wg sync.WaitGroup
		for i := range images {
			wg.Go(func() { images[i] = s.pushStubbornly("app", fmt.Sprint("v", i), "shared", fmt.Sprint("own ", i)) })
		}
		wg.Wait()
		sound := registry.New(meta, blobs, registry.Options{Log: quiet})
		s.handler = server.All(sound, server.Options{Log: quiet, ServeBlobs: true})
		for i, image := range images {
			if got := s.do("GET", fmt.Sprint("/v2/app/manifests/v", i), nil).want(t, http.StatusOK).body; !bytes.Equal(got, image) {
				t.Errorf("seed %d: v%d came back as %s", seed, i, got)
			}
			for _, layer := range []string{"shared", fmt.Sprint("own ", i)} {
				if got := s.blob("app", oci.SHA256.FromBytes([]byte(layer))); string(got) != layer {
					t.Errorf("seed %d: layer %q came back as %q", seed, layer, got)
				}
			}
		}
	}
}

// pushStubbornly repeats each request until it succeeds. No fault of the store may appear
// as an error of the client.
func (s *site) pushStubbornly(name, tag string, layers ...string) []byte {
	stubborn := func(send func() answer) answer {
		for {
			a := send()
			if a.StatusCode < 300 {
				return a
			}
			if a.StatusCode < 500 {
				s.t.Errorf("status %d: %s", a.StatusCode, a.body)
			}
		}
	}
	var list []any
	for _, l := range layers {
		d := oci.SHA256.FromBytes([]byte(l))
		stubborn(func() answer {
			start := stubborn(func() answer { return s.do("POST", "/v2/"+name+"/blobs/uploads/", nil) })
			at := start.Header.Get("Location")
			if a := s.do("PATCH", at, strings.NewReader(l)); a.StatusCode >= 300 {
				return a
			}
			return s.do("PUT", at+"?digest="+string(d), nil)
		})
		list = append(list, descriptor("application/vnd.oci.image.layer.v1.tar", d, len(l)))
	}
	m := marshal(map[string]any{"config": list[0], "layers": list})
	stubborn(func() answer {
		return s.do("PUT", "/v2/"+name+"/manifests/"+tag, bytes.NewReader(m), "Content-Type", oci.MediaTypeImageManifest)
	})
	return m
}
