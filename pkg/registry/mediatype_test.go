package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pierless/pierless/pkg/oci"
)

// TestMediaTypeOfTheLastPush: the bytes of one manifest are pushed under several types, while it is deleted and calls
// fail. World.check holds that its rows agree; the last push decides.
func TestMediaTypeOfTheLastPush(t *testing.T) {
	for seed := range seeds(200) {
		synctest.Test(t, func(t *testing.T) { pushTypes(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestLatePushSparesLaterType: the transaction of a push whose process died is applied after a push of the same tag
// under another type.
func TestLatePushSparesLaterType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		push := func(mediaType string) func(context.Context, *Registry) error {
			return func(ctx context.Context, r *Registry) error {
				_, err := r.PushManifest(ctx, "r", ManifestPush{Tags: []string{"t"}, ContentType: mediaType, Content: []byte(`{}`)})
				return err
			}
		}
		const first, second = "application/vnd.example.first+json", "application/vnd.example.second+json"
		s.spawn(0, push(first))
		s.run()
		s.decide = lateAt(s.actors, 1) // the first write announces
		s.spawn(0, push(first))
		s.run()
		held := s.late
		s.late = nil
		s.spawn(0, push(second))
		s.run()
		s.late = held
		s.applyLate()
		if got := s.world.rows[tagKey("r", "t")].text(attrMediaType); len(held) != 1 || got != second {
			t.Errorf("the tag has the type %q after %d late writes", got, len(held))
		}
	})
}

func pushTypes(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	config := []byte("config")
	pad := strings.Repeat("x", int(1-min(seed%8, 1))*inlineManifest)
	subject := descriptorJSON([]byte("subject"))
	content := []byte(`{"config":` + descriptorJSON(config) + `,"subject":` + subject + `,"annotations":{"pad":"` + pad + `"}}`)
	d := oci.SHA256.FromBytes(content)
	push := func(mediaType, tag string) func(context.Context, *Registry) error {
		return func(ctx context.Context, r *Registry) error {
			_, err := r.PushManifest(ctx, "r", ManifestPush{Tags: []string{tag}, ContentType: mediaType, Content: content})
			return err
		}
	}
	s.spawn(0, func(ctx context.Context, r *Registry) error {
		if err := pushBy(ctx, r, "r", oci.SHA256.FromBytes(config), config, 0); err != nil {
			return err
		}
		return push("application/vnd.example.first+json", "first")(ctx, r)
	})
	s.run()
	s.decide = func(p *pending) fate {
		if seed%3 == 0 || p.what != "write" {
			return lives
		}
		return s.sometimes(6, contends, late)
	}
	for i := range 4 {
		s.spawn(0, push(fmt.Sprintf("application/vnd.example.n%d+json", i%2), []string{"t", "u"}[s.rng.IntN(2)]))
	}
	if seed%5 == 0 {
		s.spawn(0, func(ctx context.Context, r *Registry) error { return r.DeleteManifest(ctx, "r", d) })
	}
	s.run()

	s.decide = only(lives)
	last := s.spawn(0, push(oci.MediaTypeImageManifest, "t"))
	s.run()
	if err := last(); err != nil {
		t.Fatal(err)
	}
	s.applyLate() // must not undo it
	s.spawn(0, func(ctx context.Context, r *Registry) error {
		for range 2 { // at first without a cache
			m, err := r.FindManifest(ctx, "r", oci.Reference{Tag: "first"})
			if err == nil && m.MediaType != "application/vnd.example.first+json" {
				t.Errorf("the tag first has the type %q, another push changed it", m.MediaType)
			}
		}
		for _, ref := range []oci.Reference{{Tag: "t"}, {Digest: d}, {Tag: "t"}} { // the last one from the cache
			if m, err := r.FindManifest(ctx, "r", ref); err != nil || m.MediaType != oci.MediaTypeImageManifest {
				t.Errorf("%s has the type %q: %v", ref, m.MediaType, err)
			}
		}
		list, err := r.Referrers(ctx, "r", oci.SHA256.FromBytes([]byte("subject")), "x/y", "")
		if err != nil || len(list.Index.Manifests) != 1 || list.Index.Manifests[0].MediaType != oci.MediaTypeImageManifest {
			t.Errorf("referrers %+v: %v", list, err)
		}
		return nil
	})
	s.run()
}

// checkTypes holds that a manifest's rows agree on its media type.
func (w *world) checkTypes(fault func(string, ...any), repo string, d oci.Digest, content, thin Attrs) {
	mediaType := thin.text(attrMediaType)
	if content.text(attrMediaType) != mediaType {
		fault("manifest %.16s has the types %q and %q", d, mediaType, content.text(attrMediaType))
	}
	if subject := decode[manifestRow](thin).Subject; subject != "" {
		row := decode[referrerRow](w.rows[Key{referrerPartition(repo, subject), decode[manifestRow](thin).Referrer}])
		var shown oci.Descriptor
		if err := json.Unmarshal(row.Bytes, &shown); row.Bytes != nil && (err != nil || shown.MediaType != mediaType) {
			fault("manifest %.16s has the type %q, its referrer row %q: %v", d, mediaType, shown.MediaType, err)
		}
	}
}
