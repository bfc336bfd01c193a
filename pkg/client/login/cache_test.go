package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

type clock struct {
	Cache
	log   bytes.Buffer
	at    time.Time
	calls int
}

func newClock(t *testing.T) *clock {
	t.Helper()
	c := &clock{at: time.Now()}
	cache, err := OpenCache(filepath.Join(t.TempDir(), "a", "b"), slog.New(slog.NewTextHandler(&c.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.Cache = *cache
	c.now = func() time.Time { return c.at }
	return c
}

// renew returns a session with a number.
func (c *clock) renew(context.Context) (Session, error) {
	c.calls++
	return Session{Host: "h:5000", Username: "u", Token: fmt.Sprint("token-", c.calls), Issued: c.at, Expires: c.at.Add(time.Hour)}, nil
}

func refuse(context.Context) (Session, error) { return Session{}, errors.New("refused") }

// TestCacheRenewsAtHalfLife: and uses the old session while it lives if that fails.
func TestCacheRenewsAtHalfLife(t *testing.T) {
	c := newClock(t)
	if _, err := c.Get(t.Context(), "h:5000", refuse); err == nil {
		t.Error("a session of nothing")
	}
	start := c.at
	for _, step := range []struct {
		after time.Duration
		login func(context.Context) (Session, error)
		want  string
	}{
		{0, c.renew, "token-1"},
		{30*time.Minute - time.Second, refuse, "token-1"},
		{30 * time.Minute, refuse, "token-1"},
		{60*time.Minute - time.Second, refuse, "token-1"},
		{60 * time.Minute, refuse, ""},
		{30 * time.Minute, c.renew, "token-2"},
		{0, c.renew, "token-3"}, // the clock went back: the life cannot be known
	} {
		c.at = start.Add(step.after)
		s, err := c.Get(t.Context(), "h:5000", step.login)
		if s.Token != step.want || (err == nil) != (step.want != "") {
			t.Errorf("after %v: %q, %v; want %q", step.after, s.Token, err, step.want)
		}
	}
	if got := strings.Count(c.log.String(), "not renewed"); got != 2 || strings.Contains(c.log.String(), "token-") {
		t.Errorf("%d warnings: %s", got, &c.log)
	}
}

func TestCacheFiles(t *testing.T) {
	c := newClock(t)
	if err := c.Save(Session{Host: "stored", Username: "me", Token: "for ever"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "h:5000", c.renew); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(c.dir)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode() != 0o600 || strings.Contains(f.Name(), "stored") {
			t.Errorf("%s %v, %v", f.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(c.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
	c.at = c.at.Add(10 * 365 * 24 * time.Hour)
	if all, err := c.All(); err != nil || len(all) != 1 || all[0].Host != "stored" {
		t.Errorf("%v, %v", all, err)
	}
	if s, err := c.Get(t.Context(), "stored", refuse); s.Token != "for ever" || err != nil {
		t.Error(s, err)
	}
	for range 2 {
		if err := c.Delete("stored"); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Get(t.Context(), "stored", refuse); err == nil {
		t.Error("a deleted session is found")
	}
	// Damaged files, and those of another registry, count as none.
	other := `{"host":"evil","username":"u","token":"x"}`
	for _, content := range []string{"", "{", "null", "[]", `{"host":"h:5000"}`, other} {
		if err := os.WriteFile(c.path("h:5000"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Get(t.Context(), "h:5000", refuse); err == nil {
			t.Errorf("%q is %v", content, s)
		}
	}
	// A cache that cannot be written does not fail the login.
	os.RemoveAll(c.dir)
	if s, err := c.Get(t.Context(), "h:5000", c.renew); err != nil || s.Token == "" || !strings.Contains(c.log.String(), "not saved") {
		t.Error(s, err, c.log.String())
	}
}

// TestCacheOfTwo: processes that write at once leave a session of one of them, whole.
func TestCacheOfTwo(t *testing.T) {
	one := newClock(t)
	other := *one
	var work sync.WaitGroup
	for i, c := range []*clock{one, &other} {
		work.Go(func() {
			for range 200 {
				long := strings.Repeat(fmt.Sprint(i), 1+i*100_000)
				if err := c.Save(Session{Host: "h", Token: long}); err != nil {
					t.Error(err)
				}
				if s, found := c.read(c.path("h")); !found || s.Token != "0" && len(s.Token) != 100_001 {
					t.Errorf("found %v, with %d bytes", found, len(s.Token))
				}
			}
		})
	}
	work.Wait()
	if files, err := os.ReadDir(one.dir); err != nil || len(files) != 1 {
		t.Error(files, err)
	}
}
