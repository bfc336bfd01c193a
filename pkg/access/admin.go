package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

// Admin changes tokens and settings. Each change has an entry in the log. It is safe for
// concurrent use by many processes.
type Admin struct {
	meta registry.Metadata
	dir  *Directory
}

// NewAdmin returns an Admin over the rows of a Directory, which forgets its cache after each
// change.
func NewAdmin(dir *Directory) *Admin { return &Admin{dir.meta, dir} }

// Actor is the sender of a change, for its permissions and for the log.
type Actor struct {
	Caller
	IP string
}

// NewTokenRequest describes a token to be created.
type NewTokenRequest struct {
	Name   string `json:"name"`
	Grants Grants `json:"grants"`
	// Life is the time until the token expires, such as "720h"; empty means that it never does.
	Life string `json:"life,omitempty"`
	Note string `json:"note,omitempty"` // up to 256 bytes
}

// Issued is a new token with its secret, which is shown only once.
type Issued struct {
	Secret string `json:"token"`
	Token  Token  `json:"info"`
}

// Create makes a token. Errors: ACCESS_INVALID; DENIED if a grant exceeds those of the actor with
// the action admin.
func (a *Admin) Create(ctx context.Context, by Actor, req NewTokenRequest) (Issued, error) {
	now := a.dir.opts.Now().UTC().Truncate(time.Second)
	t := Token{Name: req.Name, Grants: req.Grants, Created: now, Note: req.Note, By: by.Name}
	if err := checkTokenName(t.Name); err != nil {
		return Issued{}, err
	}
	if len(t.Grants) == 0 {
		return Issued{}, errInvalid("a token needs at least one grant")
	}
	if err := t.Grants.Check(); err != nil {
		return Issued{}, err
	}
	if len(t.Note) > maxNote {
		return Issued{}, errInvalid("the note has %d bytes: at most %d are allowed", len(t.Note), maxNote)
	}
	if req.Life != "" {
		life, err := time.ParseDuration(req.Life)
		if err != nil || life <= 0 || life > maxLife {
			return Issued{}, errInvalid("%q is not the life of a token: use a duration such as 720h", req.Life)
		}
		t.Expires = now.Add(life)
	}
	if !by.Grants.Cover(t.Grants) {
		return Issued{}, oci.NewError(oci.Denied, "%s may create only tokens whose grants lie within its own grants with the action admin", by.Name)
	}
	// Two requests at once may still create two tokens of one name. That does no harm: Revoke ends
	// both.
	same, err := a.named(ctx, t.Name)
	if err != nil {
		return Issued{}, err
	}
	if slices.ContainsFunc(same, func(t Token) bool { return t.Lives(now) }) {
		return Issued{}, errInvalid("there is a token %s: revoke it, rotate it, or choose another name", t.Name)
	}
	return a.issue(ctx, by, t, Entry{Action: "token created"})
}

// issue stores a new token and its log entry, with further writes.
func (a *Admin) issue(ctx context.Context, by Actor, t Token, e Entry, more ...registry.Write) (Issued, error) {
	secret, sum := NewToken()
	t.ID = sum[:idDigits]
	var until time.Time
	switch {
	case t.Rule != "": // a registry may issue thousands a day; the log has the login
		until = t.Expires
	case !t.Expires.IsZero():
		until = t.Expires.Add(keepExpired)
	}
	attrs, err := content(t, until)
	if err != nil {
		return Issued{}, err
	}
	e.Token, e.ID, e.After = t.Name, t.ID, t
	writes := append(more, registry.Write{Key: tokenKey(sum), Op: registry.Put, If: registry.Absent(), Attrs: attrs})
	if err := a.write(ctx, by, e, writes...); err != nil {
		return Issued{}, err
	}
	return Issued{Secret: secret, Token: t}, nil
}

// write applies changes with their log entry.
func (a *Admin) write(ctx context.Context, by Actor, e Entry, writes ...registry.Write) error {
	e.Time, e.By, e.IP = a.dir.opts.Now().UTC(), by.Name, by.IP
	attrs, err := content(e, e.Time.Add(keepLog))
	if err != nil {
		return err
	}
	writes = append(writes, registry.Write{Key: logKey(e, rand.Text()), Op: registry.Put, Attrs: attrs})
	if err := a.meta.Transact(ctx, "", writes...); err != nil {
		if isConflict(err) {
			return fmt.Errorf("%w (cause: %w)", oci.NewError(oci.AccessInvalid,
				"another request has changed the same entry: read it again, then repeat the change").WithStatus(statusConflict), err)
		}
		return fmt.Errorf("change access: %w", err)
	}
	a.dir.forget()
	return nil
}

const statusConflict = 409

func isConflict(err error) bool {
	_, is := errors.AsType[*registry.Conflict](err)
	return is
}

// Tokens lists the tokens that the actor may manage, expired ones too, by name.
func (a *Admin) Tokens(ctx context.Context, by Actor) ([]Token, error) {
	tokens, err := a.tokens(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.addUsed(ctx, tokens); err != nil {
		return nil, err
	}
	tokens = by.within(tokens)
	slices.SortFunc(tokens, compareTokens)
	return tokens, nil
}

// tokens reads all tokens.
func (a *Admin) tokens(ctx context.Context) ([]Token, error) {
	tokens := []Token{} // a list in JSON, not null
	for row, err := range a.all(ctx, tokenPartition) {
		if err != nil {
			return nil, fmt.Errorf("list tokens: %w", err)
		}
		t, _, err := tokenOf(row)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// addUsed adds the days of their last use to tokens.
func (a *Admin) addUsed(ctx context.Context, tokens []Token) error {
	days := map[string]int64{}
	for row, err := range a.all(ctx, usedPartition) {
		if err != nil {
			return fmt.Errorf("list uses of tokens: %w", err)
		}
		days[row.Key.SK], _ = row.Attrs[attrDay].(int64)
	}
	for i := range tokens {
		if day := days[tokens[i].sum]; day > 0 {
			tokens[i].Used = dayText(day)
		}
	}
	return nil
}

// named returns the tokens of a name or id.
func (a *Admin) named(ctx context.Context, name string) ([]Token, error) {
	tokens, err := a.tokens(ctx)
	return slices.DeleteFunc(tokens, func(t Token) bool { return t.Name != name && t.ID != name }), err
}

// all reads the rows of a partition.
func (a *Admin) all(ctx context.Context, partition string) iter.Seq2[registry.Row, error] {
	return registry.QueryAll(ctx, a.meta, registry.Query{PK: partition, Limit: registry.MaxPage})
}

// within returns those of the tokens that the actor may manage.
func (by Actor) within(tokens []Token) []Token {
	return slices.DeleteFunc(tokens, func(t Token) bool { return !by.Grants.Cover(t.Grants) })
}

// byAge sorts the oldest token first. Of two that were created in the same second, rotation has
// made that which lives longer.
func byAge(a, b Token) int { return cmp.Or(a.Created.Compare(b.Created), a.end().Compare(b.end())) }

// manageable returns the tokens of a name or id. The error is NAME_UNKNOWN if there is none that
// the actor may manage.
func (a *Admin) manageable(ctx context.Context, by Actor, name string) ([]Token, error) {
	tokens, err := a.named(ctx, name)
	if err != nil {
		return nil, err
	}
	tokens = by.within(tokens)
	if len(tokens) == 0 {
		return nil, oci.NewError(oci.NameUnknown, "there is no token %q that %s may manage", name, by.Name)
	}
	return tokens, nil
}

// Revoke deletes the tokens of a name, or the one with an id. They may be used for up to Fresh
// afterwards, and uploads that they have started go on. The error is NAME_UNKNOWN if there is
// none that the actor may manage.
func (a *Admin) Revoke(ctx context.Context, by Actor, name string) ([]Token, error) {
	tokens, err := a.manageable(ctx, by, name)
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(tokens, maxRevoked) {
		var writes []registry.Write
		for _, t := range some {
			writes = append(writes, registry.Write{Key: tokenKey(t.sum), Op: registry.Delete})
		}
		e := Entry{Action: "token revoked", Token: some[0].Name, ID: some[0].ID, Before: some}
		if err := a.write(ctx, by, e, writes...); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

// maxRevoked bounds the tokens in one transaction and their log entry, which must fit into a row.
const maxRevoked = 20

// defaultOverlap is how long a rotated token lives beside the new one.
const defaultOverlap = 24 * time.Hour

// RotateRequest names a token that gets a new secret.
type RotateRequest struct {
	Name string `json:"name"`
	// Overlap is how long the old secret may still be used, such as "1h"; empty means 24 hours.
	Overlap string `json:"overlap,omitempty"`
}

// Rotate creates a token with the name, grants and expiry of the newest one of that name, which
// expires after the overlap. Errors: ACCESS_INVALID; NAME_UNKNOWN if there is none that the
// actor may manage.
func (a *Admin) Rotate(ctx context.Context, by Actor, req RotateRequest) (Issued, error) {
	overlap, err := time.ParseDuration(req.Overlap)
	switch {
	case req.Overlap == "":
		overlap = defaultOverlap
	case err != nil, overlap < 0, overlap > maxLife:
		return Issued{}, errInvalid("%q is not an overlap: use a duration such as 1h", req.Overlap)
	}
	tokens, err := a.manageable(ctx, by, req.Name)
	if err != nil {
		return Issued{}, err
	}
	now := a.dir.opts.Now().UTC().Truncate(time.Second)
	old := slices.MaxFunc(tokens, byAge)
	switch {
	case old.Rule != "":
		return Issued{}, errInvalid("a login has issued %s: log in again instead", old.Name)
	case !old.Lives(now):
		return Issued{}, errInvalid("%s has expired: create a new token", old.Name)
	}
	next := old
	next.Created, next.By = now, by.Name
	if end := now.Add(overlap); old.Expires.IsZero() || end.Before(old.Expires) {
		old.Expires = end
	}
	attrs, err := content(old, old.Expires.Add(keepExpired))
	if err != nil {
		return Issued{}, err
	}
	return a.issue(ctx, by, next, Entry{Action: "token rotated", Before: old},
		registry.Write{Key: tokenKey(old.sum), Op: registry.Put, If: registry.Exists(), Attrs: attrs})
}

// SetSettings replaces the settings. version is that of the settings that the change is based on,
// or "*" for any. Errors: ACCESS_INVALID, with status 409 if the version is another one.
func (a *Admin) SetSettings(ctx context.Context, by Actor, s Settings, version string) error {
	if err := s.Check(); err != nil {
		return err
	}
	before, err := a.Settings(ctx)
	if err != nil {
		return err
	}
	if version == "*" {
		version = before.Version
	}
	condition := registry.Equal(registry.AttrVersion, version)
	if version == "" {
		condition = registry.Absent()
	}
	attrs, err := content(s, time.Time{})
	if err != nil {
		return err
	}
	return a.write(ctx, by, Entry{Action: "rules changed", Before: before, After: s},
		registry.Write{Key: settingsKey(), Op: registry.Put, If: condition, Attrs: attrs})
}

// Settings reads the settings, not from the cache.
func (a *Admin) Settings(ctx context.Context) (Settings, error) {
	rows, err := a.meta.Get(ctx, settingsKey())
	if err != nil {
		return Settings{}, fmt.Errorf("read access settings: %w", err)
	}
	return settingsOf(rows[0])
}

// Used reports whether the registry has access rules: tokens or settings.
func (a *Admin) Used(ctx context.Context) (bool, error) {
	rows, err := a.meta.Get(ctx, settingsKey())
	if err != nil || rows[0].Attrs != nil {
		return err == nil, err
	}
	page, err := a.meta.Query(ctx, registry.Query{PK: tokenPartition, Limit: 1})
	return len(page.Rows) > 0, err
}

// Explanation says which grant decides.
type Explanation struct {
	Allowed bool `json:"allowed"`
	// Grant is the grant that allows the action; nil if none does.
	Grant *Grant `json:"grant,omitempty"`
	// Source is the name of the token, anonymous for a pattern of the settings, or admin.
	Source string `json:"source,omitempty"`
	Reason string `json:"reason"`
}

// Explain says whether the token of a name or id may do the action on a repository, and why. The
// names admin and anonymous stand for callers without a row.
func (a *Admin) Explain(ctx context.Context, by Actor, name, repository string, action route.Action) (Explanation, error) {
	if err := oci.CheckName(repository); err != nil {
		return Explanation{}, err
	}
	if !slices.Contains(Actions(), action) {
		return Explanation{}, errInvalid("the action %q is not one of pull, push, delete and admin", action)
	}
	settings, err := a.Settings(ctx)
	if err != nil {
		return Explanation{}, err
	}
	if name == adminName {
		return Explanation{true, &everything()[0], adminName, "the administrator's token of the deployment may do everything"}, nil
	}
	var t Token // none for callers without credentials
	reason := "no grant and no anonymous pattern allows it"
	if name != anonymousName {
		tokens, err := a.manageable(ctx, by, name)
		if err != nil {
			return Explanation{}, err
		}
		t = slices.MaxFunc(tokens, byAge)
	}
	anonymous := a.dir.anonymous(settings)
	if !t.Lives(a.dir.opts.Now()) {
		reason = "the token expired at " + t.Expires.Format(time.RFC3339)
	} else if at := anonymous.Find(repository, action); at >= 0 {
		return Explanation{true, &anonymous[at], anonymousName, "every caller may pull it, with or without a token"}, nil
	} else if at := t.Grants.Find(repository, action); at >= 0 {
		return Explanation{true, &t.Grants[at], t.Name, "a grant of the token allows it"}, nil
	}
	return Explanation{Source: t.Name, Reason: reason}, nil
}
