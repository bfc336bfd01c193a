package verify

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// caseTimeout limits one case.
const caseTimeout = 3 * time.Minute

// cleanUpTimeout limits the deletion of the content of a run.
const cleanUpTimeout = 2 * time.Minute

// Options selects the registry and the cases to run.
type Options struct {
	// URL is the registry's address: http://host:port, https://host, or host:port,
	// which means http.
	URL string
	// Username and Password answer the registry's challenges.
	Username, Password string
	// Groups are the groups to run; none means all.
	Groups []Group
	// Only are IDs, or patterns as in path.Match; none means all.
	Only []string
	// Repositories is the path below which the repositories of the cases are; empty means
	// pierless-verify. Each run makes new, random names there.
	Repositories string
	// Parallel is the number of cases that run at once; 0 means 4.
	Parallel int
	// MaxBody is the registry's limit for request bodies, in bytes: cases that need
	// more expect 413. 0 means no limit.
	MaxBody int64
	// Keep leaves the pushed content in the registry.
	Keep bool
	// CleaningUp, if set, is called after the cases for each repository that was cleaned up;
	// calls do not overlap.
	CleaningUp func(done, total int)
	// Progress, if set, is called with each result; calls do not overlap.
	Progress func(done, total int, r Result)
	// Transport sends the requests; nil means a new one.
	Transport http.RoundTripper
}

// ErrUnreachable is returned if no registry answers at the address, or if it rejects
// the credentials.
var ErrUnreachable = errors.New("no registry answers")

// Run verifies a registry, and deletes the content that it pushed, also if ctx is done. The error
// is ErrUnreachable, ErrNoMatch, the context's, or about the options; faults of the registry are in
// the report. With the context's error there is a report, too.
func Run(ctx context.Context, opts Options) (*Report, error) {
	cases, err := Select(Cases(), opts.Only)
	if err != nil {
		return nil, err
	}
	if len(opts.Groups) > 0 {
		cases = slices.DeleteFunc(cases, func(c Case) bool { return !slices.Contains(opts.Groups, c.Group) })
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%w: the groups %v have no such case", ErrNoMatch, opts.Groups)
	}
	c, err := NewClient(ClientOptions{
		URL: opts.URL, Scheme: "http", Username: opts.Username, Password: opts.Password,
		UserAgent: "pierless-verify", Transport: opts.Transport,
	})
	if err != nil {
		return nil, err
	}
	if err := c.Accepts(ctx, c.follow(ctx, Request{Method: http.MethodGet, Target: "/v2/"})); err != nil {
		return nil, err
	}
	opts.Repositories = cmp.Or(opts.Repositories, "pierless-verify") + "/" + RandomName() + "-"
	if opts.Parallel <= 0 {
		opts.Parallel = 4
	}
	runs, seed := functions(), rand.Uint64()
	report, err := Runner{Parallel: opts.Parallel, Progress: opts.Progress, Run: func(ctx context.Context, cs Case) Result {
		return runCase(ctx, c, cs, runs[cs.ID], opts, seed)
	}}.Report(ctx, c.Base.String(), cases)
	report.CleanUp = opts.cleanUp(ctx, c)
	return report, err
}

// RandomName returns a part of a repository's name that no other run has.
func RandomName() string { return strings.ToLower(cryptorand.Text()[:16]) }

// cleanUp deletes the content of a run, also if ctx is done.
func (o Options) cleanUp(ctx context.Context, c *Client) *CleanUp {
	if o.Keep {
		return &CleanUp{Prefix: o.Repositories, Kept: true}
	}
	cleanUpCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	if ctx.Err() != nil {
		wait(cleanUpCtx, settleTime)
	}
	return c.CleanUp(cleanUpCtx, CleanUpOptions{Prefix: o.Repositories, Progress: o.CleaningUp})
}

// runCase runs one case in its own repositories.
func runCase(ctx context.Context, c *Client, cs Case, run func(*T), opts Options, seed uint64) Result {
	ctx, cancel := context.WithTimeout(ctx, caseTimeout)
	defer cancel()
	repo := repository(opts.Repositories + cs.ID)
	t := &T{
		ctx: ctx, client: c, maxBody: opts.MaxBody, repo: repo, other: repo + "-other",
		rand: &random{src: rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s %d", cs.ID, seed)))},
	}
	return t.resultOf(run)
}
