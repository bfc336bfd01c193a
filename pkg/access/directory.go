package access

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

// Fresh is the time for which a process relies on a row that it has read: a revoked token may be
// used, and a changed rule may be ignored, for that long.
const Fresh = 30 * time.Second

// cachedTokens is the number of tokens, known and unknown, in the cache of a process.
const cachedTokens = 1024

// Caller is the sender of a request.
type Caller struct {
	Name      string // of the token, or admin, or anonymous
	Grants    Grants
	Anonymous bool
}

// Administrator returns the caller with the administrator's token of the deployment.
func Administrator() Caller { return Caller{Name: adminName, Grants: everything()} }

// May reports whether the caller is allowed the action on a repository, or on the whole registry
// if the name is empty.
func (c Caller) May(repository string, action route.Action) bool {
	return c.Grants.Allow(repository, action)
}

// Options of a Directory.
type Options struct {
	// AnonymousPull adds the pattern "**" to those of the settings.
	AnonymousPull bool
	// Log records that the day of a token's use could not be written. nil means slog.Default.
	Log *slog.Logger
	// Now is time.Now if it is nil.
	Now func() time.Time
}

// Directory finds the caller of a request. It is safe for concurrent use.
type Directory struct {
	meta   registry.Metadata
	opts   Options
	tokens *lru.Cache[string, cached]

	mu       sync.Mutex
	settings Settings
	read     time.Time // when the read of settings began
}

// cached is a token as it was read; nil if there is no row.
type cached struct {
	token *Token
	read  time.Time // when the read began
}

// NewDirectory returns a Directory over the rows of a registry.
func NewDirectory(meta registry.Metadata, opts Options) *Directory {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	d := &Directory{meta: registry.Retrying(meta), opts: opts}
	d.tokens, _ = lru.New[string, cached](cachedTokens) // fails only for a size below 1
	return d
}

// Find returns the caller with a token; found is false if the token is malformed, unknown,
// revoked or expired. It reads rows at most once per Fresh: one call for the token and, if they
// are old, the settings.
func (d *Directory) Find(ctx context.Context, token string) (c Caller, found bool, err error) {
	if !WellFormed(token) {
		return Caller{}, false, nil
	}
	sum := Sum(token)
	entry, hit := d.tokens.Get(sum)
	settings, fresh := d.fresh()
	if !hit || d.old(entry.read) {
		if entry, settings, err = d.fetch(ctx, sum, settings, fresh); err != nil {
			return Caller{}, false, err
		}
	} else if !fresh {
		if settings, err = d.Settings(ctx); err != nil {
			return Caller{}, false, err
		}
	}
	if entry.token == nil || !entry.token.Lives(d.opts.Now()) {
		return Caller{}, false, nil
	}
	return Caller{Name: entry.token.Name, Grants: append(d.anonymous(settings), entry.token.Grants...)}, true, nil
}

// Anonymous returns the caller without credentials. It has no grants if every request needs a
// token.
func (d *Directory) Anonymous(ctx context.Context) (Caller, error) {
	if d.opts.AnonymousPull {
		return Caller{Name: anonymousName, Grants: d.anonymous(Settings{}), Anonymous: true}, nil
	}
	settings, err := d.Settings(ctx)
	return Caller{Name: anonymousName, Grants: d.anonymous(settings), Anonymous: true}, err
}

// Settings returns the settings, which may be as old as Fresh.
func (d *Directory) Settings(ctx context.Context) (Settings, error) {
	if settings, fresh := d.fresh(); fresh {
		return settings, nil
	}
	began := d.opts.Now()
	rows, err := d.meta.Get(ctx, settingsKey())
	if err != nil {
		return Settings{}, fmt.Errorf("read access settings: %w", err)
	}
	return d.keep(rows[0], began)
}

// anonymous returns the grants of callers without credentials, which every caller has.
func (d *Directory) anonymous(settings Settings) Grants {
	patterns := settings.Anonymous
	if d.opts.AnonymousPull {
		patterns = []string{"**"}
	}
	if len(patterns) == 0 {
		return nil
	}
	return Grants{{Repositories: patterns, Actions: []route.Action{route.Pull}}}
}

// forget empties the cache after a change by this process.
func (d *Directory) forget() {
	d.tokens.Purge()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read = time.Time{}
}

func (d *Directory) old(read time.Time) bool {
	age := d.opts.Now().Sub(read)
	return age < 0 || age >= Fresh
}

func (d *Directory) fresh() (Settings, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settings, !d.old(d.read)
}

// keep caches the settings of a row. Their age counts from the time at which the read began, because
// a change may have come during the read.
func (d *Directory) keep(row registry.Row, began time.Time) (Settings, error) {
	settings, err := settingsOf(row)
	if err != nil {
		return Settings{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings, d.read = settings, began
	return settings, nil
}

// fetch reads a token and the day of its last use and, unless the settings are fresh, the
// settings.
func (d *Directory) fetch(ctx context.Context, sum string, settings Settings, fresh bool) (cached, Settings, error) {
	keys := []registry.Key{tokenKey(sum), usedKey(sum)}
	if !fresh {
		keys = append(keys, settingsKey())
	}
	entry := cached{read: d.opts.Now()}
	rows, err := d.meta.Get(ctx, keys...)
	if err != nil {
		return cached{}, Settings{}, fmt.Errorf("read token: %w", err)
	}
	if !fresh {
		if settings, err = d.keep(rows[2], entry.read); err != nil {
			return cached{}, Settings{}, err
		}
	}
	t, found, err := tokenOf(rows[0])
	if err != nil {
		return cached{}, Settings{}, err
	}
	if found {
		entry.token = &t
		d.use(ctx, sum, t, rows[1])
	}
	d.tokens.Add(sum, entry)
	return entry, settings, nil
}

// use records that a token was used today, once a day. A token of a login lives for hours, so its
// creation says enough. A failure must not fail the request.
func (d *Directory) use(ctx context.Context, sum string, t Token, used registry.Row) {
	now := d.opts.Now()
	if last, _ := used.Attrs[attrDay].(int64); t.Rule != "" || last >= dayOf(now) || !t.Lives(now) {
		return
	}
	_, err := d.meta.Update(ctx, registry.Write{Key: usedKey(sum), Op: registry.Set, Attrs: registry.Attrs{
		attrDay: dayOf(now), attrTTL: now.Add(keepLog).Unix(),
	}})
	if err != nil {
		d.opts.Log.WarnContext(ctx, "the day of a token's use was not written", "token", t.Name, "error", err)
	}
}
