package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry"
)

// Objects lists the content of the store.
func (s *Store) Objects() registry.ObjectLister { return s.blobs }

// Rows scans the rows of the store.
func (s *Store) Rows() registry.RowScanner { return s.meta }

// ListObjects implements registry.ObjectLister. The directories have the first byte of the keys in
// them, so their order is that of the keys.
func (b *blobs) ListObjects(ctx context.Context, after string, limit int) (page registry.ObjectPage, err error) {
	if limit < 1 || limit > registry.MaxPage {
		return page, fmt.Errorf("%w: limit %d, not from 1 to %d", errInvalid, limit, registry.MaxPage)
	}
	for i := range 256 {
		dir := fmt.Sprintf("%02x", i)
		if len(after) >= len(dir) && dir < after[:len(dir)] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return registry.ObjectPage{}, err
		}
		entries, err := os.ReadDir(filepath.Join(b.content, dir)) // sorted by name
		if err != nil {
			return registry.ObjectPage{}, err
		}
		for _, entry := range entries {
			if name := entry.Name(); name <= after || !registry.IsContentKey(name) || !strings.HasPrefix(name, dir) {
				continue
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted since the directory was read
			}
			if err != nil {
				return registry.ObjectPage{}, err
			}
			if len(page.Objects) == limit {
				page.More = true
				return page, nil
			}
			page.Objects = append(page.Objects, registry.Object{Key: entry.Name(), Size: info.Size(), Modified: info.ModTime()})
		}
	}
	return page, nil
}

// ScanRows implements registry.RowScanner.
func (n *metadata) ScanRows(ctx context.Context, after registry.Key, limit int) (page registry.Page, err error) {
	if limit < 1 || limit > registry.MaxPage {
		return page, fmt.Errorf("%w: limit %d, not from 1 to %d", errInvalid, limit, registry.MaxPage)
	}
	err = n.view(ctx, func(rows *bbolt.Bucket) error {
		page, err = scanPage(rows.Cursor(), after, limit)
		return err
	})
	if err != nil {
		return registry.Page{}, err
	}
	return page, nil
}

func scanPage(c *bbolt.Cursor, after registry.Key, limit int) (page registry.Page, err error) {
	last := rowKey(after)
	key, data := c.Seek(last)
	if bytes.Equal(key, last) {
		key, data = c.Next()
	}
	for size := 0; key != nil; key, data = c.Next() {
		size += len(key) + len(data)
		if len(page.Rows) == limit || len(page.Rows) > 0 && size > pageBytes {
			page.More = true
			break
		}
		pk, sk, _ := strings.Cut(string(key), separator)
		row := registry.Row{Key: registry.Key{PK: pk, SK: sk}}
		if row.Attrs, err = decodeRow(data); err != nil {
			return page, fmt.Errorf("row %q: %w", row.Key, err)
		}
		page.Rows = append(page.Rows, row)
	}
	return page, nil
}
