package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
)

// embedded is the directory of an embedded store. While it is open, no process serves it.
type embedded struct {
	store *local.Store
	dir   string
}

func openEmbedded(dir string) (*embedded, error) {
	if _, err := os.Stat(filepath.Join(dir, "names.db")); err != nil { // local.Open would create a store
		return nil, err
	}
	s, err := local.Open(dir)
	return &embedded{store: s, dir: dir}, err
}

func (e *embedded) ports() (registry.Metadata, registry.Blobs) {
	return e.store.Metadata(), e.store.Blobs()
}

// close may be called twice.
func (e *embedded) close() error { return e.store.Close() }

// contents closes the store, as it reads the database itself.
func (e *embedded) contents(_ context.Context, unrecorded bool) ([]string, error) {
	if err := e.close(); err != nil {
		return nil, err
	}
	rows, err := e.rows()
	if err != nil {
		return nil, err
	}
	dirs := []string{"blobs", "uploads"}
	if unrecorded {
		dirs = dirs[:1]
	}
	files, err := e.files(dirs)
	return append(rows, files...), err
}

// rows lists the keys of the rows without a ttl. The bucket and the separator are those of
// pkg/registry/local, which writes the names of attributes as they are.
func (e *embedded) rows() (keys []string, err error) {
	db, err := bbolt.Open(filepath.Join(e.dir, "names.db"), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		rows := tx.Bucket([]byte("rows"))
		if rows == nil {
			return errors.New("the database has no rows")
		}
		return rows.ForEach(func(key, row []byte) error {
			if !bytes.Contains(row, []byte("ttl")) {
				keys = append(keys, "row "+strings.ReplaceAll(string(key), "\x00", " "))
			}
			return nil
		})
	})
	return keys, errors.Join(err, db.Close())
}

// files lists the content, and the segments of uploads.
func (e *embedded) files(dirs []string) (all []string, err error) {
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(e.dir, dir), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				all = append(all, "object "+path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
