package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/verify"
)

// Group is the group of the checks in reports.
const Group verify.Group = "deployment"

//go:embed checks.txt
var checksTable string

// Checks lists every check, in the order in which they run. All are Must; Section is the
// content that the check needs in the registry.
func Checks() (checks []verify.Case) {
	for _, row := range verify.Table(checksTable) {
		checks = append(checks, verify.Case{ID: row[0], Group: Group, Level: verify.Must, Section: row[1], Requirement: row[2], Impact: row[3]})
	}
	return checks
}

// IDs of checks with special rules.
const (
	idTLS          = "tls"
	idHTTPRedirect = "http-redirect"
	idAPIEndpoint  = "api-endpoint"
	idCleanUp      = "cleanup"
)

// functions returns the function of each check in checks.txt.
func functions() map[string]func(*visit) verify.Result {
	return map[string]func(*visit) verify.Result{
		idTLS: (*visit).tls, "front-door": (*visit).frontDoor, idHTTPRedirect: (*visit).httpRedirect,
		"http2": (*visit).http2, "latency": (*visit).latency, "concurrency": (*visit).concurrency,
		"clock": (*visit).clock, idAPIEndpoint: (*visit).apiEndpoint, "challenge": (*visit).challenge,
		"challenge-head": (*visit).challengeHead, "challenge-routes": (*visit).challengeRoutes, "login": (*visit).login,
		"wrong-password": (*visit).wrongPassword, "anonymous-push": (*visit).anonymousPush,
		"anonymous-pull": (*visit).anonymousPull, "trailing-slash": (*visit).trailingSlash,
		"upload-location": (*visit).uploadLocation, "decoded-path": (*visit).decodedPath,
		"link-header": (*visit).linkHeader, "head-manifest-length": (*visit).headManifest,
		"head-blob-length": (*visit).headBlob, "manifest-bytes": (*visit).manifestBytes,
		"body-chunk": (*visit).bodyChunk, "body-chunked": (*visit).bodyChunked, "body-limit": (*visit).bodyLimit,
		"blob-redirect": (*visit).blobRedirect, "presigned-host": (*visit).presignedHost,
		"presigned-get": (*visit).presignedGet, "presigned-range": (*visit).presignedRange,
		"presigned-expiry": (*visit).presignedExpiry, "direct-upload": (*visit).directUpload,
		"direct-refusals": (*visit).directRefusals, "direct-parts": (*visit).directParts, idCleanUp: (*visit).cleanUp,
	}
}

// Options selects the registry and the checks to run.
type Options struct {
	// URL is the registry's address: https://host, http://host:port, or host:port,
	// which means https unless the host is this machine.
	URL string
	// Username and Password are sent with Basic, to the registry only.
	Username, Password string
	// APIEndpoint is the default endpoint of the API in API Gateway, which must be closed
	// if a custom domain is used; empty: not checked.
	APIEndpoint string
	// Only are IDs, or patterns as in path.Match; none means all.
	Only []string
	// Keep leaves the pushed content in the registry.
	Keep bool
	// MaxExpiry limits the lifetime of presigned URLs; 0 means 20 minutes.
	MaxExpiry time.Duration
	// Progress, if set, is called with each result; calls do not overlap.
	Progress func(done, total int, r verify.Result)
	// Transport sends the requests; nil means a new one.
	Transport http.RoundTripper
	// Lookup resolves the addresses of a host; nil means the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

const (
	// requestTimeout is longer than API Gateway's timeout of 30 seconds.
	requestTimeout   = time.Minute
	cleanUpTimeout   = time.Minute
	defaultMaxExpiry = 20 * time.Minute
)

// Run examines a registry, one check at a time, in its own repository, which it deletes
// at the end, also if ctx is done. The error is verify.ErrUnreachable, verify.ErrNoMatch,
// the context's, or about the options; faults of the registry are in the report. With the
// context's error there is a report, too.
func Run(ctx context.Context, opts Options) (*verify.Report, error) {
	v, err := newVisit(opts)
	if err != nil {
		return nil, err
	}
	checks := Checks()
	cleanUp := checks[len(checks)-1]
	selected, err := verify.Select(checks, opts.Only)
	if err != nil {
		return nil, err
	}
	selected = slices.DeleteFunc(selected, func(c verify.Case) bool { return !v.applies(c.ID) })
	if len(selected) == 0 {
		return nil, verify.ErrNoMatch
	}
	untrusted, err := v.reach(ctx)
	if err != nil {
		return nil, err
	}
	if !opts.Keep {
		selected = append(selected, cleanUp)
	}
	runs := functions()
	report, err := verify.Runner{Parallel: 1, Progress: opts.Progress, Run: func(ctx context.Context, c verify.Case) verify.Result {
		if c.ID == idCleanUp { // also after ctx is done
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
			defer cancel()
		} else if untrusted != nil && c.ID != idTLS {
			return unknown(nil, "not checked: the connection cannot be trusted (see tls)")
		}
		v.ctx = ctx
		if err := v.prepare(stage(c.Section)); err != nil {
			return unknown(v.failed, "setup failed: %v", err)
		}
		return runs[c.ID](v)
	}}.Report(ctx, v.client.Base.String(), selected)
	report.CleanUp = v.cleaned
	return report, err
}

// applies reports whether a check is relevant for this registry.
func (v *visit) applies(id string) bool {
	switch id {
	case idCleanUp:
		return false // Run appends it: it always runs
	case idAPIEndpoint:
		return v.opts.APIEndpoint != ""
	case idHTTPRedirect:
		return v.client.Base.Scheme == "https" && v.client.Base.Port() == ""
	}
	return true
}

func newVisit(opts Options) (*visit, error) {
	client, err := newClient(opts, opts.URL)
	if err != nil {
		return nil, err
	}
	if opts.APIEndpoint != "" {
		if _, err := newClient(opts, opts.APIEndpoint); err != nil {
			return nil, err
		}
	}
	if opts.Lookup == nil {
		opts.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	opts.MaxExpiry = cmp.Or(opts.MaxExpiry, defaultMaxExpiry)
	repo := "pierless-doctor/" + verify.RandomName()
	return &visit{
		opts: opts, client: client, prepared: map[stage]error{}, repo: repo, cleaned: &verify.CleanUp{Prefix: repo, Kept: true},
	}, nil
}

// newClient returns a client for the address of a registry.
func newClient(opts Options, address string) (*verify.Client, error) {
	scheme := "https"
	host, _, _ := strings.Cut(address, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "localhost" || err == nil && ip.IsLoopback() {
		scheme = "http"
	}
	return verify.NewClient(verify.ClientOptions{
		URL: address, Scheme: scheme, Username: opts.Username, Password: opts.Password,
		UserAgent: "pierless-doctor", Transport: opts.Transport,
	})
}

// reach checks that a registry answers and accepts the credentials. If the connection
// cannot be trusted, it returns the reason as untrusted: then only the TLS check runs.
func (v *visit) reach(ctx context.Context) (untrusted, err error) {
	v.ctx = ctx
	v.first = v.get("/v2/")
	var certificate *tls.CertificateVerificationError
	if errors.As(v.first.Err, &certificate) {
		return certificate, nil
	}
	return nil, v.client.Accepts(ctx, v.first)
}
