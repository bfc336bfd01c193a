package main

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/client/proxy"
)

// proxyFlags are the flags of proxy.
type proxyFlags struct {
	proxy.Options
	spoolLimit  string
	allowRemote bool
	log         string
}

func newProxy(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "proxy [flags] REGISTRY", Short: "Run a local proxy that lets docker push layers of any size", Args: cobra.ExactArgs(1)}
	f := proxyFlags{Options: proxy.Options{Listen: "127.0.0.1:5000"}, log: "text", spoolLimit: "20GiB"}
	flags := cmd.Flags()
	flags.StringVar(&f.Listen, "listen", f.Listen, "`address` to listen on")
	flags.StringVar(&f.Spool, "spool", "", "`directory` for unfinished layers (default: the system's temporary directory)")
	flags.StringVar(&f.spoolLimit, "spool-limit", f.spoolLimit, "maximum `size` of the spool: bytes, or with the unit KiB, MiB, GiB or TiB")
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "allow a --listen address that other machines can reach")
	flags.StringSliceVar(&f.AllowHosts, "allow-host", nil, "another `host` or host:port that clients use for the proxy")
	addInternalHosts(cmd, &f.InternalHosts)
	flags.BoolVar(&f.PlainHTTP, "plain-http", false, "use http for the registry; loopback addresses always use it")
	f.log = cmp.Or(getenv("PIERLESS_LOG"), f.log)
	addLog(cmd, &f.log)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.Registry = args[0]
		return runProxy(cmd, f)
	}
	return cmd
}

func runProxy(cmd *cobra.Command, f proxyFlags) error {
	log := setup.Log(cmd.ErrOrStderr(), f.log)
	f.Log = log
	var err error
	if f.SpoolLimit, err = parseSize(f.spoolLimit); err != nil {
		return fmt.Errorf("--spool-limit: %w", err)
	}
	if !guard.Loopback(f.Listen) && !f.allowRemote {
		return fmt.Errorf("other machines can reach %s: set --allow-remote to allow that", f.Listen)
	}
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", f.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// The host name from the flag, with the port that the system chose for 0.
	if f.Listen, err = withPort(f.Listen, listener.Addr()); err != nil {
		return err
	}
	p, err := proxy.New(f.Options)
	if err != nil {
		return err
	}
	defer p.Close()
	at := listener.Addr().String()
	log.Info("ready", "listen", at, "registry", p.Upstream(), "spool", p.Spool(), "try", "docker push "+at+"/<name>:<tag>")
	if !guard.Loopback(at) {
		log.Warn("other machines can reach this address, and the network can read their passwords", "listen", at)
	}
	return run(cmd.Context(), listener, p, log)
}

// withPort returns the address of a --listen flag with the port of at.
func withPort(listen string, at net.Addr) (string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	_, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	return net.JoinHostPort(host, port), nil
}

// parseSize returns the bytes of a size such as 20GiB or 1000.
func parseSize(s string) (int64, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, found := strings.CutSuffix(number, suffix); found {
			number, unit = strings.TrimSpace(rest), 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is not a size such as 20GiB", s)
	}
	return n * unit, nil
}
