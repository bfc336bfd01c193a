package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/registry"
)

// checkListen returns an error if other machines would reach the registry without access control
// or without TLS, unless the operator allows that. The error names the missing flags.
func checkListen(c env.Config) error {
	if guard.Loopback(c.Listen) || c.InsecureListen {
		return nil
	}
	var missing []string
	if c.AdminTokenSHA256 == "" {
		missing = append(missing, "--admin-token-sha256 ('pierless token' creates a token)")
	}
	if !encrypted(c) {
		missing = append(missing, "--tls-cert and --tls-key (or --behind-tls-proxy if a proxy terminates TLS)")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("other machines can reach %s: set %s, or set --insecure-listen to allow that", c.Listen, strings.Join(missing, ", and "))
}

// encrypted reports whether clients use HTTPS.
func encrypted(c env.Config) bool { return c.TLSCert != "" || c.BehindTLSProxy }

var errWouldOpen = errors.New("the store has tokens or access rules, but without --admin-token-sha256 the registry would be open: " +
	"set it to the value of the other processes of this registry; 'pierless token' creates a new one if it is lost")

// checkRules returns an error if a registry without access control would ignore the tokens and
// rules in its store.
func checkRules(ctx context.Context, c env.Config, meta registry.Metadata) error {
	if c.AdminTokenSHA256 != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	used, err := access.NewAdmin(access.NewDirectory(meta, access.Options{})).Used(ctx)
	if err != nil {
		return fmt.Errorf("read the access rules: %w", err)
	}
	if used {
		return errWouldOpen
	}
	return nil
}

// behindProxy describes the client's connection to the proxy: its address for the log, and its
// scheme for the challenge.
func behindProxy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Set("X-Forwarded-Proto", "https")
		if at, found := forwardedFor(r.Header); found {
			r.RemoteAddr = at.String()
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedFor returns the last address in X-Forwarded-For. The proxy has appended it; a client
// may have forged the others.
func forwardedFor(h http.Header) (at netip.Addr, found bool) {
	all := strings.Join(h.Values("X-Forwarded-For"), ",")
	last := strings.TrimSpace(all[strings.LastIndex(all, ",")+1:])
	at, err := netip.ParseAddr(last)
	if err != nil {
		withPort, portErr := netip.ParseAddrPort(last)
		at, err = withPort.Addr(), portErr
	}
	return at.WithZone(""), err == nil
}
