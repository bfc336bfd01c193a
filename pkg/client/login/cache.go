package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/internal/atomicfile"
)

// Cache keeps sessions in files that only the owner can read, one for each registry: processes
// replace them as a whole, so that none reads a part of one.
type Cache struct {
	dir string
	log *slog.Logger
	now func() time.Time
}

// OpenCache keeps sessions in dir, and creates it if necessary. log records sessions that could
// not be renewed or saved.
func OpenCache(dir string, log *slog.Logger) (*Cache, error) {
	if err := atomicfile.PrivateDir(dir); err != nil {
		return nil, err
	}
	return &Cache{dir, log, time.Now}, nil
}

const suffix = ".json"

func (c *Cache) path(host string) string {
	sum := sha256.Sum256([]byte(host))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:])+suffix)
}

// read returns the session in a file; found is false if there is none, or it is damaged.
func (c *Cache) read(path string) (s Session, found bool) {
	content, err := os.ReadFile(path)
	found = err == nil && json.Unmarshal(content, &s) == nil && s.Token != "" && c.path(s.Host) == path
	return s, found
}

// Get returns the session for a registry. It calls login if there is none, or half of its life has
// passed. If login fails, the session is returned until it expires.
func (c *Cache) Get(ctx context.Context, host string, login func(context.Context) (Session, error)) (Session, error) {
	s, found := c.read(c.path(host))
	now := c.now()
	if found && s.fresh(now) {
		return s, nil
	}
	renewed, err := login(ctx)
	switch {
	case err == nil:
		if err := c.Save(renewed); err != nil {
			c.log.Warn("the token was not saved", "error", err)
		}
		return renewed, nil
	case found && s.alive(now):
		c.log.Warn("the token was not renewed", "error", err)
		return s, nil
	}
	return Session{}, err
}

// Save replaces the session for its registry.
func (c *Cache) Save(s Session) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.Write(c.path(s.Host), content)
}

// Delete removes the session for a registry, if there is one.
func (c *Cache) Delete(host string) error {
	if err := os.Remove(c.path(host)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// All returns the sessions that have not expired, by host.
func (c *Cache) All() ([]Session, error) {
	files, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var all []Session
	for _, f := range files {
		if s, found := c.read(filepath.Join(c.dir, f.Name())); found && s.alive(c.now()) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Session) int { return strings.Compare(a.Host, b.Host) })
	return all, nil
}
