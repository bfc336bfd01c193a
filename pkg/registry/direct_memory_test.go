package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// The part of the simulated store that clients reach without the registry.

// errRefused is the store's answer to a presigned request that it does not accept.
var errRefused = errors.New("the store refuses the request")

// ticket is the content of a presigned request, as its URL.
type ticket struct {
	Key, Upload string // Upload: of a part
	Number      int
	Digest      oci.Digest
	Size        int64
	Expires     time.Time
}

// signedFor is how long a request is good for.
const signedFor = 15 * time.Minute

func (b simBlobs) sign(t ticket) (direct.Request, error) {
	t.Expires = b.w.now().Add(signedFor)
	url, err := json.Marshal(t)
	return direct.Request{Method: "PUT", URL: string(url)}, err
}

func (b simBlobs) PresignPut(_ context.Context, key string, d oci.Digest, size int64) (direct.Request, error) {
	return b.sign(ticket{Key: key, Digest: d, Size: size})
}

func (b simBlobs) PresignPart(_ context.Context, key string, stored Stored, p direct.Part) (direct.Request, error) {
	return b.sign(ticket{Key: key, Upload: decodePieces(stored)[0].Name, Number: p.Number, Digest: p.Digest, Size: p.Size})
}

// send is a client's request to the store. A request that began in time can arrive much
// later.
func (b simBlobs) send(request direct.Request, content []byte) error {
	var t ticket
	if err := json.Unmarshal([]byte(request.URL), &t); err != nil {
		return err
	}
	if b.w.now().After(t.Expires) {
		return errRefused
	}
	return b.turn("send", func() error {
		if oci.SHA256.FromBytes(content) != t.Digest || int64(len(content)) != t.Size {
			return errRefused
		}
		if t.Upload == "" {
			if _, taken := b.w.content[t.Key]; taken {
				return nil // 412, which clients take as a success
			}
			b.w.summed[t.Key] = !b.w.blind
			return b.write(t.Key, content)
		}
		parts, there := b.w.uploads[t.Upload]
		if !there {
			return errRefused
		}
		parts[t.Number] = content
		return nil
	})
}

func (b simBlobs) StartParts(_ context.Context, key string) (stored Stored, err error) {
	err = b.turn("start", func() error {
		name := fmt.Sprint(key, "/", len(b.w.uploads))
		b.w.uploads[name] = map[int][]byte{}
		state, err := json.Marshal([]piece{{Name: name}})
		stored = Stored{State: state}
		return err
	})
	return stored, err
}

func (b simBlobs) ListParts(_ context.Context, _ string, stored Stored) (parts []direct.Part, err error) {
	err = b.turn("list", func() (err error) {
		parts, err = b.list(stored)
		return err
	})
	return parts, err
}

func (b simBlobs) list(stored Stored) (parts []direct.Part, err error) {
	upload, there := b.w.uploads[decodePieces(stored)[0].Name]
	if !there {
		return nil, ErrNoContent
	}
	for _, number := range slices.Sorted(maps.Keys(upload)) {
		content := upload[number]
		parts = append(parts, direct.Part{Number: number, Size: int64(len(content)), Digest: oci.SHA256.FromBytes(content)})
	}
	return parts, nil
}

func (b simBlobs) CompleteParts(_ context.Context, key string, stored Stored, check func([]direct.Part) error) error {
	return b.turn("complete", func() error {
		parts, err := b.list(stored)
		if err != nil {
			return ErrTaken
		}
		if err := check(parts); err != nil {
			return err
		}
		name := decodePieces(stored)[0].Name
		var content []byte
		for _, p := range parts {
			content = append(content, b.w.uploads[name][p.Number]...)
		}
		if err := b.write(key, content); err != nil {
			return err
		}
		delete(b.w.uploads, name)
		return nil
	})
}

func (b simBlobs) Stat(_ context.Context, key string, sum bool) (size int64, d oci.Digest, err error) {
	err = b.turn("stat", func() error {
		content, there := b.w.content[key]
		if !there {
			return ErrNoContent
		}
		if b.w.encoded[key] {
			return ErrEncoded
		}
		size = int64(len(content))
		if sum && b.w.summed[key] {
			d = oci.SHA256.FromBytes(content)
		}
		return nil
	})
	return size, d, err
}

// pushDirect is a client that sends a blob past the registry.
func pushDirect(ctx context.Context, r *Registry, repo string, d oci.Digest, content []byte, inParts bool) error {
	u, exists, err := r.StartDirect(ctx, repo, direct.Offer{Digest: d, Size: int64(len(content)), Parts: inParts}, everywhere)
	if exists || err != nil {
		return err
	}
	if err := sendAll(ctx, r, repo, u, content); err != nil {
		return err
	}
	return finishDirect(ctx, r, repo, u.ID)
}

// sentInParts is an upload of content in the repository r whose parts are all stored.
func sentInParts(ctx context.Context, r *Registry, content []byte) direct.Upload {
	u, _, _ := r.StartDirect(ctx, "r", offer(content, true), everywhere)
	_ = sendAll(ctx, r, "r", u, content)
	return u
}

func sendAll(ctx context.Context, r *Registry, repo string, u direct.Upload, content []byte) error {
	store, _ := r.blobs.(simBlobs)
	if u.Put != nil {
		return store.send(*u.Put, content)
	}
	for i := range direct.PartCount(u.Size, u.PartSize) {
		p := direct.Part{Number: i + 1, Size: direct.SizeOf(i+1, u.Size, u.PartSize)}
		bytes := content[int64(i)*u.PartSize:][:p.Size]
		p.Digest = oci.SHA256.FromBytes(bytes)
		signed, err := r.SignParts(ctx, repo, u.ID, []direct.Part{p})
		if err != nil {
			return err
		}
		if err := store.send(signed[0].Request, bytes); err != nil {
			return err
		}
	}
	return nil
}

// finishDirect completes an upload and waits for its verification.
func finishDirect(ctx context.Context, r *Registry, repo, id string) error {
	_, done, err := r.CompleteDirect(ctx, repo, id)
	for range 100 {
		if done || err != nil {
			return err
		}
		_, done, err = r.VerifyDirect(ctx, repo, id)
	}
	return errors.New("the verification does not end")
}

// garbage names content that no row will ever lead to a blob or to the sweep.
func (w *world) garbage() (keys []string) {
	for key, content := range w.content {
		row := w.rows[objectKey(key)]
		if row.text(attrState) != string(objectLive) || !w.named(key, row) {
			keys = append(keys, fmt.Sprintf("%.8s (%d bytes)", key, len(bytes.TrimSpace(content))))
		}
	}
	return keys
}

func (w *world) wantNoGarbage(t *testing.T) {
	t.Helper()
	if left := w.garbage(); left != nil {
		t.Errorf("left behind: %v", left)
	}
}
