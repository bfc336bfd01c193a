package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/verify"
)

// Verdict is what a check came to.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Wrong   Verdict = "wrong"
	Unknown Verdict = "unknown" // it could not be seen
)

// Check is one question about a deployment.
type Check struct {
	// ID names the check: stable, lower case, words joined by '-'.
	ID string `json:"id"`
	// Asks says in one sentence what must be so.
	Asks string `json:"asks"`
	// Breaks says what goes wrong for whom where it is not.
	Breaks string `json:"breaks"`

	needs stage
	run   func(*visit) finding
}

// Finding is what a check came to, and why.
type Finding struct {
	Check
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"`
	// Set says what to set or change; empty unless the verdict is Wrong.
	Set string `json:"set,omitempty"`
	// Exchange shows what was wrong.
	Exchange *verify.Exchange `json:"exchange,omitempty"`
	Seconds  float64          `json:"seconds"`
}

// Options say what to examine and how.
type Options struct {
	// URL is the registry's address: https://host, http://host:port, or host:port,
	// which is taken as https unless the host is this machine.
	URL string
	// Username and Password are sent as Basic to the registry alone.
	Username, Password string
	// APIEndpoint is the address that API Gateway itself gives the registry, to see
	// that it is closed where a host name of one's own is used; empty: not asked.
	APIEndpoint string
	// Only are IDs, or patterns of them as in path.Match; none means all.
	Only []string
	// MaxExpiry is the longest that a presigned URL may be good for; 0 means 20 minutes.
	MaxExpiry time.Duration
	// Progress, if set, is told of each finding as it comes.
	Progress func(done, total int, f Finding)
	// Transport carries the requests; nil means one of the run's own.
	Transport http.RoundTripper
	// Lookup finds the addresses of a host; nil means the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

var (
	// ErrUnreachable is returned where nothing can be examined: no registry answers
	// at the address, or it refuses the credentials.
	ErrUnreachable = errors.New("no registry answers")
	// ErrNoCheck is returned where Only leaves nothing to ask.
	ErrNoCheck = errors.New("no check of that name")
)

const (
	// requestTimeout is longer than the 29 seconds after which API Gateway gives up.
	requestTimeout   = time.Minute
	cleanUpTimeout   = time.Minute
	defaultMaxExpiry = 20 * time.Minute
)

// Checks lists every check, in the order in which they run.
func Checks() []Check {
	return slices.Concat(doorChecks(), accessChecks(), pathChecks(), lengthChecks(), bodyChecks(), redirectChecks(), directChecks())
}

// Run examines a registry, one check after the other, in a repository of its own
// that it takes away at the end. The error is ErrUnreachable, ErrNoCheck, the
// context's, or about the options; what is wrong with the registry is in the report.
func Run(ctx context.Context, opts Options) (*Report, error) {
	v, err := newVisit(ctx, opts)
	if err != nil {
		return nil, err
	}
	checks, err := selectChecks(opts, v)
	if err != nil {
		return nil, err
	}
	r := &Report{URL: v.base.String(), Started: time.Now().UTC().Truncate(time.Second)}
	begun := time.Now()
	untrusted, err := v.reach()
	if err != nil {
		return nil, err
	}
	total := len(checks) + 1 // cleanUp is the last
	for _, c := range checks {
		f := v.ask(c, untrusted)
		r.Findings = append(r.Findings, f)
		if opts.Progress != nil {
			opts.Progress(len(r.Findings), total, f)
		}
		if ctx.Err() != nil {
			break
		}
	}
	// What was pushed is taken away even where the run was broken off.
	var cancel context.CancelFunc
	v.ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	f := v.ask(cleanUpCheck(), nil)
	r.Findings = append(r.Findings, f)
	if opts.Progress != nil {
		opts.Progress(total, total, f)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(begun).Seconds()
	return r, nil
}

func selectChecks(opts Options, v *visit) ([]Check, error) {
	checks := slices.DeleteFunc(Checks(), func(c Check) bool {
		matches := func(pattern string) bool { ok, _ := path.Match(pattern, c.ID); return ok }
		return len(opts.Only) > 0 && !slices.ContainsFunc(opts.Only, matches) || !v.applies(c.ID)
	})
	if len(checks) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoCheck, strings.Join(opts.Only, ", "))
	}
	return checks, nil
}

// applies reports whether a check has something to ask of this registry.
func (v *visit) applies(id string) bool {
	switch id {
	case idAPIEndpoint:
		return v.opts.APIEndpoint != ""
	case idHTTPRedirect:
		return v.base.Scheme == "https" && v.base.Port() == ""
	}
	return true
}

// newVisit reads the options.
func newVisit(ctx context.Context, opts Options) (*visit, error) {
	base, err := parseBase(opts.URL)
	if err != nil {
		return nil, err
	}
	if opts.APIEndpoint != "" {
		if _, err := parseBase(opts.APIEndpoint); err != nil {
			return nil, err
		}
	}
	if opts.Lookup == nil {
		opts.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	opts.MaxExpiry = cmp.Or(opts.MaxExpiry, defaultMaxExpiry)
	if opts.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true // lengths and bytes are compared
		opts.Transport = t
	}
	client := &http.Client{
		Transport: opts.Transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &visit{ctx: ctx, opts: opts, base: base, client: client, repo: "pierless-doctor/" + strings.ToLower(rand.Text())[:12]}, nil
}

// parseBase reads the address of a registry.
func parseBase(raw string) (*url.URL, error) {
	full := raw
	if !strings.Contains(full, "://") {
		full = "https://" + full
		host, _, _ := strings.Cut(raw, "/")
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "localhost" || err == nil && ip.IsLoopback() {
			full = "http://" + raw
		}
	}
	u, err := url.Parse(strings.TrimSuffix(strings.TrimSuffix(full, "/"), "/v2"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a registry: use https://host or http://host:port", raw)
	}
	return u, nil
}

// reach makes sure that something answers and takes the credentials. untrusted is
// why the connection cannot be trusted: then only the TLS check has something to say.
func (v *visit) reach() (untrusted, err error) {
	r := v.get("/v2/")
	v.first = r
	var certificate *tls.CertificateVerificationError
	switch {
	case v.ctx.Err() != nil:
		return nil, v.ctx.Err()
	case errors.As(r.err, &certificate):
		return certificate, nil
	case r.err != nil:
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, v.base, r.err)
	case r.status == http.StatusUnauthorized && v.anonymous():
		return nil, fmt.Errorf("%w at %s without credentials: give a user and a password", ErrUnreachable, v.base)
	case r.status == http.StatusUnauthorized:
		return nil, fmt.Errorf("%w at %s with these credentials", ErrUnreachable, v.base)
	}
	return nil, nil
}

// ask runs one check.
func (v *visit) ask(c Check, untrusted error) Finding {
	start := time.Now()
	f := finding{}
	switch {
	case untrusted != nil && c.ID != idTLS:
		f = unknown(nil, "not asked: the connection cannot be trusted (see tls)")
	default:
		if err := v.prepare(c.needs); err != nil {
			f = unknown(v.failed, "could not be prepared: %v", err)
		} else {
			f = c.run(v)
		}
	}
	return Finding{Check: c, Verdict: f.verdict, Seen: f.seen, Set: f.set, Exchange: f.exchange, Seconds: time.Since(start).Seconds()}
}

// finding is a Finding before it is put together with its check.
type finding struct {
	verdict   Verdict
	seen, set string
	exchange  *verify.Exchange
}

func ok(format string, args ...any) finding {
	return finding{verdict: OK, seen: fmt.Sprintf(format, args...)}
}

// unknown says what could not be seen. r may be nil.
func unknown(r *reply, format string, args ...any) finding {
	return finding{verdict: Unknown, seen: fmt.Sprintf(format, args...), exchange: r.shown()}
}

// wrong says what is wrong, as r shows, and what to set. r may be nil.
func wrong(r *reply, set, format string, args ...any) finding {
	return finding{verdict: Wrong, seen: fmt.Sprintf(format, args...), set: set, exchange: r.shown()}
}
