package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	firstWait     = 500 * time.Millisecond
	maxWait       = 20 * time.Second
	maxRetryAfter = time.Minute
	// restartWait is added to each wait after a refused connection: the default attempts
	// then bridge twelve seconds or more.
	restartWait = time.Second
)

// retryWait reports whether to repeat a request after an error, and after which wait.
func (c *Client) retryWait(ctx context.Context, err error, attempt int) (time.Duration, bool) {
	if attempt >= c.opts.Attempts || ctx.Err() != nil || !temporary(err) {
		return 0, false
	}
	return backoff(err, attempt), true
}

// retry waits before the next attempt and logs it. what is the subject of the log message.
// It returns the error if there is to be no further attempt.
func (c *Client) retry(ctx context.Context, what string, err error, attempt int, attrs ...slog.Attr) error {
	wait, again := c.retryWait(ctx, err, attempt)
	if !again {
		return err
	}
	attrs = append(attrs, slog.Int("attempt", attempt), slog.Duration("wait", wait), slog.Any("error", err))
	c.opts.Log.LogAttrs(ctx, slog.LevelWarn, what+" is repeated", attrs...)
	if sleepErr := c.opts.Sleep(ctx, wait); sleepErr != nil {
		return errors.Join(sleepErr, err)
	}
	return nil
}

// backoff returns a random wait below a limit that doubles with each attempt, so that clients
// which failed together do not return together. It adds Retry-After, and restartWait if the
// connection was refused: a registry that restarts cannot ask for a wait.
func backoff(err error, attempt int) time.Duration {
	limit := min(maxWait, firstWait<<min(attempt-1, 10))
	wait := rand.N(limit)
	if errors.Is(err, syscall.ECONNREFUSED) {
		wait = max(wait, limit/2) + restartWait
	}
	if e, ok := errors.AsType[*Error](err); ok {
		wait += min(e.RetryAfter, maxRetryAfter)
	} else if s, ok := errors.AsType[*StoreError](err); ok {
		wait += min(s.RetryAfter, maxRetryAfter)
	}
	return wait
}

// temporary reports whether another attempt may succeed.
func temporary(err error) bool {
	if errors.Is(err, ErrSource) {
		return false
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return temporaryStatus(e.Status)
	}
	if s, ok := errors.AsType[*StoreError](err); ok {
		// 409: another request of this client for the same key is still running.
		return temporaryStatus(s.Status) || s.truncated() || s.expired() || s.Status == http.StatusConflict
	}
	n, ok := errors.AsType[*networkError](err)
	return ok && !persistent(n.err)
}

// temporaryStatus reports whether the same request may soon get another status.
func temporaryStatus(status int) bool {
	return slices.Contains([]int{
		http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, status)
}

// persistent reports whether an error of a connection persists: TLS or the name of the host is
// wrong.
func persistent(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	return errors.Is(err, http.ErrSchemeMismatch) || isType[x509.HostnameError](err) ||
		isType[x509.UnknownAuthorityError](err) || isType[x509.CertificateInvalidError](err) ||
		isType[*tls.CertificateVerificationError](err) || isType[tls.RecordHeaderError](err) || isType[tls.AlertError](err)
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// retryAfter parses the Retry-After header: seconds or a date (RFC 9110, 10.2.3).
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
