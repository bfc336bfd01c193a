package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// cleaners is the number of repositories that are cleaned up at once.
	cleaners = 8
	// deleteAttempts is the number of times that a failed request is sent.
	deleteAttempts = 3
	// maxFailures is the number of successive failed requests after which no more are sent.
	maxFailures = 16
	// settleTime is the time for requests that the client has aborted, and that the registry
	// continues.
	settleTime = time.Second
)

// Counts is a number of things in a registry.
type Counts struct {
	Repositories int `json:"repositories"`
	Manifests    int `json:"manifests"`
	Tags         int `json:"tags"`
	Blobs        int `json:"blobs"`
	Uploads      int `json:"uploads"`
}

// CleanUp says how much of the content that a run created was deleted.
type CleanUp struct {
	// Prefix begins the names of the run's own repositories.
	Prefix string `json:"prefix"`
	// Kept is set if nothing was to be deleted.
	Kept    bool   `json:"kept"`
	Removed Counts `json:"removed"`
	// Remaining.Repositories counts names that the registry still knows.
	Remaining Counts `json:"remaining"`
	// Reason is the first refusal of the registry.
	Reason string `json:"reason,omitempty"`
	// Refusal is the reply of Reason, if there was one.
	Refusal *Reply `json:"-"`
}

// CleanUpOptions configures Client.CleanUp.
type CleanUpOptions struct {
	// Prefix begins the names of the repositories that only this client uses. They are deleted as
	// a whole. In others, CleanUp deletes only manifests that the client has pushed and uploads
	// that it has opened, because the blobs may belong to other images.
	Prefix string
	// Send sends a request with the user's credentials; nil means with those of the client.
	Send func(context.Context, Request) *Reply
	// ContentFirst deletes manifests and blobs one by one before the repository, to test these
	// requests.
	ContentFirst bool
	// Progress, if set, is called after each repository; calls do not overlap.
	Progress func(done, total int)
}

// CleanUp deletes all content that the client has created, until ctx is done. It takes as much as the
// registry supports: whole repositories (Pierless), or manifests, tags, blobs and uploads.
func (c *Client) CleanUp(ctx context.Context, opts CleanUpOptions) *CleanUp {
	if opts.Send == nil {
		opts.Send = c.follow
	}
	c.created.mu.Lock()
	repositories := c.created.repositories
	c.created.repositories = map[string]*holding{}
	c.created.mu.Unlock()
	d := &cleaner{CleanUpOptions: opts, base: c.Base.String(), report: CleanUp{Prefix: opts.Prefix}, unsupported: map[*int]bool{}}
	var g errgroup.Group
	g.SetLimit(cleaners)
	done := 0
	for name, h := range repositories {
		g.Go(func() error {
			d.repository(ctx, name, h)
			d.mu.Lock()
			defer d.mu.Unlock()
			if done++; d.Progress != nil {
				d.Progress(done, len(repositories))
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	return &d.report
}

// cleaner deletes the content of a run.
type cleaner struct {
	CleanUpOptions

	base string

	mu          sync.Mutex
	failures    int // successive ones
	lastFailure *Reply
	report      CleanUp
	unsupported map[*int]bool // kinds, by their count in report.Removed, that the registry never deletes
}

// repository deletes the content of a repository.
func (d *cleaner) repository(ctx context.Context, name string, h *holding) {
	removed, remaining := &d.report.Removed, &d.report.Remaining
	root := "/v2/" + name
	for _, upload := range h.uploads {
		d.deleteAll(ctx, []string{upload}, &removed.Uploads, &remaining.Uploads)
	}
	// A name that is not in its normal form may lead to another repository.
	own := strings.HasPrefix(name, d.Prefix) && oci.CheckName(name) == nil
	if own && !d.ContentFirst && d.whole(ctx, root) {
		return
	}
	d.deleteAll(ctx, below(root+"/manifests/", h.manifests), &removed.Manifests, &remaining.Manifests)
	if !own {
		return
	}
	known := d.tags(ctx, root) // after their manifests
	d.deleteAll(ctx, below(root+"/blobs/", h.blobs), &removed.Blobs, &remaining.Blobs)
	if known && (!d.ContentFirst || !d.whole(ctx, root)) {
		d.count(&remaining.Repositories, 1)
	}
}

// below returns the paths of digests, the last one first: most registries require that an index
// is deleted before its manifests.
func below(prefix string, digests []string) (paths []string) {
	for _, digest := range slices.Backward(digests) {
		paths = append(paths, prefix+digest)
	}
	return paths
}

// whole deletes a repository with one request, which is repeated while there is more. It reports
// false if the registry does not support it.
func (d *cleaner) whole(ctx context.Context, root string) bool {
	for steps := 0; ; steps++ {
		reply := d.send(ctx, http.MethodDelete, root+"/_pierless/repository")
		var step struct {
			Manifests, Tags int
			More            bool
		}
		gone := reply.Status == http.StatusNotFound && steps > 0
		if !gone && (reply.Status != http.StatusAccepted || json.Unmarshal(reply.Body, &step) != nil) {
			return false
		}
		d.count(&d.report.Removed.Manifests, step.Manifests)
		d.count(&d.report.Removed.Tags, step.Tags)
		if !step.More {
			d.count(&d.report.Removed.Repositories, 1)
			return true
		}
	}
}

// tags deletes the tags that are left after their manifests. It reports whether the registry knows
// the repository.
func (d *cleaner) tags(ctx context.Context, root string) (known bool) {
	for last := ""; ; {
		reply := d.send(ctx, http.MethodGet, root+"/tags/list?n=1000"+last)
		var list struct{ Tags []string }
		if reply.Status != http.StatusOK || json.Unmarshal(reply.Body, &list) != nil || len(list.Tags) == 0 {
			return reply.Status == http.StatusOK
		}
		d.deleteAll(ctx, below(root+"/manifests/", list.Tags), &d.report.Removed.Tags, &d.report.Remaining.Tags)
		next := "&last=" + list.Tags[len(list.Tags)-1]
		if next == last { // the registry has no pages
			return true
		}
		last = next
	}
}

// deleteAll deletes paths. Those that the registry refuses get another attempt after the others: one may
// refer to another. removed and remaining are the counts of their kind.
func (d *cleaner) deleteAll(ctx context.Context, paths []string, removed, remaining *int) {
	var refused []string
	var last *Reply
	for len(paths) > 0 {
		refused = nil
		for _, target := range paths {
			if d.skips(removed) {
				refused = append(refused, target)
				continue
			}
			reply := d.send(ctx, http.MethodDelete, target)
			switch {
			case reply.Status >= 200 && reply.Status < 300:
				d.count(removed, 1)
			case reply.Status != http.StatusNotFound:
				refused, last = append(refused, target), reply
				d.refuse(reply, removed)
			}
		}
		if len(refused) == len(paths) || d.skips(removed) {
			break
		}
		paths = refused
	}
	d.remain(remaining, len(refused), last)
}

// refuse notes that the registry does not delete a kind of content, or not for this user.
func (d *cleaner) refuse(reply *Reply, kind *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	never := reply.Status == http.StatusMethodNotAllowed || reply.Status == http.StatusForbidden
	d.unsupported[kind] = d.unsupported[kind] || never && *kind == 0
}

func (d *cleaner) skips(kind *int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unsupported[kind]
}

// remain counts remaining content, and records the first refusal. reply may be nil.
func (d *cleaner) remain(to *int, n int, reply *Reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*to += n
	if reply != nil && d.report.Refusal == nil {
		d.report.Refusal, d.report.Reason = reply, reply.String()
	}
}

func (d *cleaner) count(to *int, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*to += n
}

// send sends a request to a path, and again if the registry is busy. After too many failures it
// returns the last one.
func (d *cleaner) send(ctx context.Context, method, target string) *Reply {
	for attempt := 1; ; attempt++ {
		if reply := d.givenUp(); reply != nil {
			return reply
		}
		reply := d.Send(ctx, Request{Method: method, Target: d.base + target})
		failed := reply.Status == 0 || reply.Status == http.StatusTooManyRequests || reply.Status >= 500
		d.noteFailure(reply, failed)
		if !failed || attempt == deleteAttempts {
			return reply
		}
		wait(ctx, time.Duration(attempt)*200*time.Millisecond)
	}
}

// givenUp returns the last failure if there were too many, else nil.
func (d *cleaner) givenUp() *Reply {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failures < maxFailures {
		return nil
	}
	return d.lastFailure
}

func (d *cleaner) noteFailure(reply *Reply, failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failures++
	d.lastFailure = reply
	if !failed {
		d.failures = 0
	}
}

// wait waits until the time is over or ctx is done.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// String lists the counts that are not 0.
func (c Counts) String() string {
	var words []string
	for _, kind := range []struct {
		n    int
		name string
	}{
		{c.Repositories, "repositories"}, {c.Manifests, "manifests"}, {c.Tags, "tags"}, {c.Blobs, "blobs"}, {c.Uploads, "uploads"},
	} {
		if kind.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", kind.n, kind.name))
		}
	}
	return strings.Join(words, ", ")
}

// WriteText writes one line on the deleted content, and one on the remaining content.
func (c *CleanUp) WriteText(w io.Writer) error {
	var text strings.Builder
	content := c.Remaining
	content.Repositories = 0
	switch {
	case c.Kept:
		fmt.Fprintf(&text, "kept: all content, in repositories that begin with %s\n", c.Prefix)
	case c.Removed != Counts{}:
		fmt.Fprintf(&text, "removed: %s\n", c.Removed)
	}
	switch {
	case content != Counts{}:
		fmt.Fprintf(&text, "remaining: %s, in repositories that begin with %s, because %s: delete them in the registry's store, "+
			"or enable deletion and delete them with a client\n", c.Remaining, c.Prefix, c.Reason)
	case c.Remaining.Repositories > 0:
		fmt.Fprintf(&text, "remaining: the names of %d empty repositories that begin with %s: this registry cannot delete repositories "+
			"on request, but may remove them when it collects garbage\n", c.Remaining.Repositories, c.Prefix)
	}
	_, err := io.WriteString(w, text.String())
	return err
}
