package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/pkg/client/proxy"
)

const proxyHelp = `Proxy is a registry on this machine for docker, podman, skopeo, crane, containerd, oras,
helm and every other client, in front of REGISTRY, whose functions take no more than about
4.5 MiB in one request. Say its address in place of the registry's:

  pierless proxy registry.example.com
  docker login 127.0.0.1:5000
  docker push 127.0.0.1:5000/team/app:1
  docker pull registry.example.com/team/app:1

The bytes of layers go straight to the registry's store, or in small pieces through a
registry that sends nobody there. Everything else passes through. Log in with what you
have for the registry: the proxy keeps no credentials, and adds none.

Clients do not know a layer's digest before its end, most of them: such layers wait in
--spool, at most --spool-limit of them together. They are gone when the layer is in the
registry, an hour after a client has gone away, and when the proxy ends.

Only this machine can reach 127.0.0.1. For other machines there is --allow-remote: whoever
reaches the proxy can then use it as you can (with credentials of their own), read on the
way what is sent, and fill the spool.

Docker Desktop, and everything else whose daemon is in a virtual machine: the daemon's
127.0.0.1 is not this machine's. Use 'pierless push', or

  pierless proxy --listen 0.0.0.0:5000 --allow-remote --allow-host host.docker.internal registry.example.com

with "insecure-registries": ["host.docker.internal:5000"] in the daemon's settings.`

const proxyExample = `  pierless proxy registry.example.com
  pierless proxy --listen 127.0.0.1:5001 --spool /var/tmp --spool-limit 50GiB https://registry.example.com
  pierless proxy --plain-http registry.internal:5000`

// proxyFlags are the flags of proxy.
type proxyFlags struct {
	proxy.Options
	spoolLimit  string
	allowRemote bool
	log         string
}

func newProxy(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "proxy [flags] REGISTRY", Short: "Run a registry for docker push in front of one with small requests",
		Long: proxyHelp, Example: proxyExample, Args: cobra.ExactArgs(1),
	}
	f := proxyFlags{Options: proxy.Options{Listen: "127.0.0.1:5000"}, log: "text", spoolLimit: "20GiB"}
	flags := cmd.Flags()
	flags.StringVar(&f.Listen, "listen", f.Listen, "address to listen on")
	flags.StringVar(&f.Spool, "spool", "", "folder for layers on their way (default: the system's for temporary files)")
	flags.StringVar(&f.spoolLimit, "spool-limit", f.spoolLimit, "most that may wait there at once: a number of bytes, or with KiB, MiB, GiB, TiB behind it")
	flags.BoolVar(&f.allowRemote, "allow-remote", false, "listen where other machines can reach it")
	flags.StringSliceVar(&f.AllowHosts, "allow-host", nil, "another name, host or host:port, under which clients know the proxy")
	addInternalHosts(cmd, &f.InternalHosts)
	flags.BoolVar(&f.PlainHTTP, "plain-http", false, "reach the registry over http; loopback addresses need no such word")
	flags.StringVar(&f.log, "log", orElse(getenv("PIERLESS_LOG"), f.log), "log format: text or json (PIERLESS_LOG)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.Registry = args[0]
		return runProxy(cmd, f)
	}
	return cmd
}

func orElse(value, other string) string {
	if value == "" {
		return other
	}
	return value
}

func runProxy(cmd *cobra.Command, f proxyFlags) error {
	log := newLog(cmd.ErrOrStderr(), f.log)
	f.Log = log
	var err error
	if f.SpoolLimit, err = parseSize(f.spoolLimit); err != nil {
		return fmt.Errorf("--spool-limit: %w", err)
	}
	if !guard.Loopback(f.Listen) && !f.allowRemote {
		return fmt.Errorf("%s can be reached from other machines: give --allow-remote if that is what you want", f.Listen)
	}
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", f.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// The name that was asked for, with the port that it became.
	if f.Listen, err = withPort(f.Listen, listener.Addr()); err != nil {
		return err
	}
	p, err := proxy.New(f.Options)
	if err != nil {
		return err
	}
	at := listener.Addr().String()
	log.Info("ready", "listen", at, "registry", p.Upstream(), "spool", p.Spool(), "try", "docker push "+at+"/<name>:<tag>")
	if !guard.Loopback(at) {
		log.Warn("other machines can reach this address: what they send, passwords too, can be read on the way", "listen", at)
	}
	served := run(cmd.Context(), listener, p, log)
	if err := p.Close(); err != nil {
		log.Error("remove the spool", "error", err)
	}
	return served
}

// withPort is the address that was asked for, with the port of at.
func withPort(asked string, at net.Addr) (string, error) {
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	_, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	return net.JoinHostPort(host, port), nil
}

// parseSize reads a number of bytes, with or without a unit.
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
