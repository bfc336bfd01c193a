package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// caseTimeout is how long one case may take.
const caseTimeout = 3 * time.Minute

// cleanUpTimeout is how long it may take to take away what a case has left, even
// one that ran out of time.
const cleanUpTimeout = time.Minute

// Options say what to verify and how.
type Options struct {
	// URL is the registry's address: http://host:port, https://host, or host:port,
	// which is taken as http.
	URL string
	// Username and Password are used where the registry asks for them.
	Username, Password string
	// Groups are those to run; none means all.
	Groups []Group
	// Only are IDs, or patterns of them as in path.Match; none means all.
	Only []string
	// Repositories is the name under which the cases make their repositories;
	// empty means a new one for each run.
	Repositories string
	// Parallel is how many cases run at once; 0 means 4.
	Parallel int
	// MaxBody is the largest request body that the registry takes, in bytes: cases
	// that need more expect 413. 0 means that there is no limit.
	MaxBody int64
	// Keep leaves in the registry what the cases put there.
	Keep bool
	// Progress, if set, is told of each result as it comes; one call at a time.
	Progress func(done, total int, r Result)
	// Transport carries the requests; nil means one of the run's own.
	Transport http.RoundTripper
}

// ErrUnreachable is returned where nothing can be verified, because no registry
// answers at the address.
var ErrUnreachable = errors.New("no registry answers")

// ErrNoCase is returned where an entry of Only matches no case of the groups.
var ErrNoCase = errors.New("no case of that name")

// Run verifies a registry. The error is ErrUnreachable, ErrNoCase, the context's,
// or about the options; what the registry does wrong is in the report.
func Run(ctx context.Context, opts Options) (*Report, error) {
	cases, err := selectCases(opts)
	if err != nil {
		return nil, err
	}
	c, err := newConn(opts)
	if err != nil {
		return nil, err
	}
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	seed, start := rand.Uint64(), time.Now()
	if opts.Repositories == "" {
		opts.Repositories = fmt.Sprintf("pierless-verify/%x", seed)
	}
	report := &Report{URL: c.base.String(), Started: start.UTC().Truncate(time.Second), Results: make([]Result, len(cases))}
	var g errgroup.Group
	g.SetLimit(4)
	if opts.Parallel > 0 {
		g.SetLimit(opts.Parallel)
	}
	var mu sync.Mutex
	done := 0
	for i, cs := range cases {
		g.Go(func() error {
			r := runCase(ctx, c, cs, opts, seed)
			mu.Lock()
			defer mu.Unlock()
			done++
			report.Results[i] = r
			if opts.Progress != nil {
				opts.Progress(done, len(cases), r)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	report.Seconds = time.Since(start).Seconds()
	return report, nil
}

func selectCases(opts Options) ([]Case, error) {
	cases := Cases()
	if len(opts.Groups) > 0 {
		cases = slices.DeleteFunc(cases, func(c Case) bool { return !slices.Contains(opts.Groups, c.Group) })
	}
	matches := func(pattern string, c Case) bool { ok, _ := path.Match(pattern, c.ID); return ok }
	for _, pattern := range opts.Only {
		if !slices.ContainsFunc(cases, func(c Case) bool { return matches(pattern, c) }) {
			return nil, fmt.Errorf("%w: %s", ErrNoCase, pattern)
		}
	}
	if len(opts.Only) > 0 {
		cases = slices.DeleteFunc(cases, func(c Case) bool {
			return !slices.ContainsFunc(opts.Only, func(pattern string) bool { return matches(pattern, c) })
		})
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%w: the groups %v have none", ErrNoCase, opts.Groups)
	}
	slices.SortStableFunc(cases, func(a, b Case) int {
		return slices.Index(Groups(), a.Group) - slices.Index(Groups(), b.Group)
	})
	return cases, nil
}

// reach makes sure that something like a registry is there: a wrong address or a
// wrong password would fail every case.
func (c *conn) reach(ctx context.Context) error {
	resp, _, _, err := c.roundTrip(ctx, request{method: http.MethodGet, target: "/v2/", header: http.Header{}})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case resp == nil:
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
	case resp.StatusCode == http.StatusUnauthorized && c.auth.username == "":
		return fmt.Errorf("%w at %s without credentials: give a user and a password", ErrUnreachable, c.base)
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w at %s with these credentials", ErrUnreachable, c.base)
	}
	return nil
}

// runCase runs one case in repositories of its own.
func runCase(runCtx context.Context, c *conn, cs Case, opts Options, seed uint64) Result {
	ctx, cancel := context.WithTimeout(runCtx, caseTimeout)
	defer cancel()
	repo := repository(opts.Repositories + "/" + cs.ID)
	p := &probe{
		ctx: ctx, conn: c, repo: repo, other: repo + "-other", left: &leftovers{},
		rand: &random{src: rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s %d", cs.ID, seed)))},
	}
	start := time.Now()
	o := p.outcomeOf(cs.run)
	if !opts.Keep {
		p.cleanUp(runCtx)
	}
	return Result{Case: cs, SpecURL: cs.SpecURL(), Status: o.status, Detail: o.detail, Exchange: o.exchange, Seconds: time.Since(start).Seconds()}
}

func (p *probe) outcomeOf(run func(*probe)) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = outcomeOfPanic(r)
		}
	}()
	run(p)
	return outcome{status: Passed}
}
