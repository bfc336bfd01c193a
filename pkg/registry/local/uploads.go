package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/pierless/pierless/pkg/registry"
)

// Append implements registry.Blobs: each call writes one segment, a separate file that
// never changes afterwards, so it needs no part numbers. After maxSegments appends the
// error is ErrTooLarge.
func (b *blobs) Append(
	ctx context.Context, key string, _ registry.Claim, stored registry.Stored, body io.Reader,
) (registry.Stored, error) {
	if _, err := b.enter(ctx, key); err != nil {
		return registry.Stored{}, err
	}
	segments, err := segmentsOf(stored)
	if err != nil {
		return registry.Stored{}, err
	}
	if len(segments) >= maxSegments {
		return registry.Stored{}, registry.ErrTooLarge
	}
	var size int64
	id, err := b.write(key, func(f *os.File) (err error) {
		size, err = b.copy(f, body)
		return err
	})
	if err != nil {
		return registry.Stored{}, err
	}
	if size == 0 {
		return stored, removeFile(id.path(b.uploads, key))
	}
	return addSegment(stored, segment{id, size}), nil
}

// copy writes a body in pieces of copyBuffer. The writer is wrapped because os.File's
// ReadFrom would take a buffer of 32 KiB instead.
func (b *blobs) copy(f *os.File, body io.Reader) (int64, error) {
	buffer, _ := b.buffers.Get().(*[copyBuffer]byte)
	defer b.buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{f}, body, buffer[:])
}

// Complete implements registry.Blobs. A single segment becomes the content without a copy;
// the kernel copies several.
func (b *blobs) Complete(ctx context.Context, key string, stored registry.Stored) error {
	path, err := b.enter(ctx, key)
	if err != nil {
		return err
	}
	segments, err := segmentsOf(stored)
	if err != nil {
		return err
	}
	if err := b.publishSegments(key, path, segments); err != nil {
		return err
	}
	for _, s := range segments {
		os.Remove(s.id.path(b.uploads, key)) //nolint:errcheck // a later Open removes it
	}
	return nil
}

func (b *blobs) publishSegments(key, path string, segments []segment) error {
	if len(segments) == 1 {
		f, err := b.openSegment(key, segments[0])
		if err != nil {
			return err
		}
		return errors.Join(publish(f.Name(), path), f.Close())
	}
	if _, err := os.Lstat(path); err == nil {
		return registry.ErrTaken // before all the copying
	}
	return b.create(key, path, func(f *os.File) error {
		for _, s := range segments {
			if err := b.concat(f, key, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// openSegment opens a segment and checks its size. The error is ErrTaken if the file is
// gone, as it is after a Complete.
func (b *blobs) openSegment(key string, s segment) (*os.File, error) {
	f, err := os.Open(s.id.path(b.uploads, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, registry.ErrTaken
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != s.size {
		err = fmt.Errorf("a segment of %s has %d bytes instead of %d", key, info.Size(), s.size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (b *blobs) concat(to *os.File, key string, s segment) error {
	from, err := b.openSegment(key, s)
	if err != nil {
		return err
	}
	n, err := to.ReadFrom(from)
	if err == nil && n != s.size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, from.Close())
}

// Discard implements registry.Blobs.
func (b *blobs) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	if _, err := b.enter(ctx, key); err != nil {
		return err
	}
	drop, err := segmentsOf(stored)
	if err != nil {
		return err
	}
	spare, err := segmentsOf(keep)
	if err != nil {
		return err
	}
	kept := make(map[fileID]bool, len(spare))
	for _, s := range spare {
		kept[s.id] = true
	}
	for _, s := range drop {
		if kept[s.id] {
			continue
		}
		if err := removeFile(s.id.path(b.uploads, key)); err != nil {
			return err
		}
	}
	return nil
}
