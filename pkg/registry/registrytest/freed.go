package registrytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// Freed pushes images, deletes them and collects garbage until every grace is over. Then contents,
// which lists the keys of all rows and objects, must return the same list as before: but for the
// dead rows that the attribute ttl removes, which contents leaves out.
func Freed(t *testing.T, meta registry.Metadata, blobs registry.Blobs, contents func(t *testing.T) []string) {
	ctx := t.Context()
	now := time.Now()
	reg := registry.New(meta, blobs, registry.Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	before := contents(t)
	var pushed []oci.Digest
	for i := range 50 {
		pushed = append(pushed, pushImage(t, reg, i))
	}
	if _, err := reg.StartUpload(ctx, "freed/app", oci.SHA256); err != nil { // is never continued
		t.Fatal(err)
	}
	during := contents(t)
	collectAll(ctx, t, reg, &now)
	for _, d := range pushed {
		if _, err := reg.FindManifest(ctx, "freed/app", oci.Reference{Digest: d}); err != nil {
			t.Fatalf("an image that was not deleted: %v", err)
		}
		if err := reg.DeleteManifest(ctx, "freed/app", d); err != nil {
			t.Fatal(err)
		}
	}
	collectAll(ctx, t, reg, &now)
	if after := contents(t); !slices.Equal(before, after) {
		t.Errorf("%d rows and objects before, %d with the images, %d after:\n%s", len(before), len(during), len(after), strings.Join(after, "\n"))
	}
	if len(during) < 200 {
		t.Errorf("only %d rows and objects with the images", len(during))
	}
}

// pushImage pushes an image with a layer that all images share; every tenth manifest is too large
// for a row.
func pushImage(t *testing.T, reg *registry.Registry, i int) oci.Digest {
	t.Helper()
	var layers []string
	for _, content := range []string{"shared", fmt.Sprint("layer ", i)} {
		d := oci.SHA256.FromBytes([]byte(content))
		if err := reg.PushBlob(t.Context(), "freed/app", d, int64(len(content)), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":%d}`, d, len(content)))
	}
	pad := strings.Repeat("x", 70_000*((i+1)%10/9))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s],"annotations":{"pad":%q}}`, layers[0], layers[1], pad)
	out, err := reg.PushManifest(t.Context(), "freed/app", registry.ManifestPush{
		Tags: []string{fmt.Sprint("v", i), "latest"}, ContentType: oci.MediaTypeImageManifest, Content: []byte(manifest),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Digest
}

// collectAll collects for some days.
func collectAll(ctx context.Context, t *testing.T, reg *registry.Registry, now *time.Time) {
	t.Helper()
	for range 5 {
		*now = now.Add(25 * time.Hour)
		for range 3 { // the delete of a link queues its blob
			_, err := reg.Collect(ctx, registry.MaxPage)
			_, expireErr := reg.ExpireUploads(ctx, registry.MaxPage)
			if err := errors.Join(err, expireErr); err != nil {
				t.Fatal(err)
			}
		}
	}
}
