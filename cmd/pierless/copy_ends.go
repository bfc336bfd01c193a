package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/client/images"
)

// copyEnds are the source and the destination of a copy.
type copyEnds struct {
	flags   copyFlags
	stdin   io.Reader
	log     *slog.Logger
	getenv  func(string) string
	logins  func(ctx context.Context, host string) (client.Credential, error)
	clients map[string]*client.Client // by registry

	from  images.Source
	to    images.Destination
	spool *images.Spool
}

// Close removes unfinished files.
func (e *copyEnds) Close() error {
	var errs []error
	if e.to != nil {
		errs = append(errs, e.to.Close())
	}
	if e.from != nil {
		errs = append(errs, e.from.Close())
	}
	return errors.Join(append(errs, e.spool.Close())...)
}

func (f copyFlags) open(cmd *cobra.Command, getenv func(string) string, log io.Writer, from, to images.Reference) (*copyEnds, error) {
	e := &copyEnds{
		flags: f, stdin: cmd.InOrStdin(), log: slog.New(newNotices(log)), getenv: getenv,
		clients: map[string]*client.Client{}, spool: images.NewSpool(os.TempDir(), images.DefaultSpool),
	}
	server, err := loginServer(from, to)
	if err == nil {
		e.logins = f.logins(getenv, server)
		e.from, err = e.source(from)
	}
	if err == nil {
		e.to, err = e.destination(cmd.Context(), to)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// loginServer returns the host for which --username is meant: that of the destination if it
// is a registry, else that of the source. It is empty if neither is one.
func loginServer(from, to images.Reference) (host string, err error) {
	p := from
	if to.Transport == images.InRegistry {
		p = to
	}
	if p.Transport != images.InRegistry {
		return "", nil
	}
	server, err := client.ParseRegistry(p.Name.Host, false)
	if err != nil {
		return "", err
	}
	return server.Host, nil // of the API: Docker Hub's differs from the host in names
}

func (e *copyEnds) source(p images.Reference) (images.Source, error) {
	switch p.Transport {
	case images.DockerDaemon:
		d, err := newDaemon(e.getenv)
		if err != nil {
			return nil, err
		}
		return images.FromDaemon(d, p.Name, e.spool), nil
	case images.OCILayout:
		return images.FromLayout(p.Path, p.Selector)
	case images.DockerArchive, images.OCIArchive:
		return images.FromArchive(p, e.stdin, e.spool)
	case images.SelfImage:
		if p.Path == "" {
			running, err := os.Executable()
			if err != nil {
				return nil, fmt.Errorf("find the running binary: %w", err)
			}
			p.Path = running
		}
		return images.FromSelf(p.Path, e.spool)
	default: // a registry
	}
	c, err := e.client(p.Name.Host)
	if err != nil {
		return nil, err
	}
	return images.FromRegistry(c, p.Name)
}

func (e *copyEnds) destination(ctx context.Context, p images.Reference) (images.Destination, error) {
	switch p.Transport {
	case images.DockerDaemon:
		d, err := newDaemon(e.getenv)
		if err != nil {
			return nil, err
		}
		return images.ToDaemon(ctx, d, p.Name, e.spool), nil
	case images.OCILayout:
		return images.ToLayout(p.Path, p.Selector.Tag)
	case images.DockerArchive, images.OCIArchive:
		return images.ToArchive(p, e.spool)
	default: // a registry
	}
	c, err := e.client(p.Name.Host)
	if err != nil {
		return nil, err
	}
	return images.ToRegistry(c, p.Name)
}

// client returns the client for a registry. A copy within one registry shares its
// connections and tokens.
func (e *copyEnds) client(server string) (*client.Client, error) {
	if c := e.clients[server]; c != nil {
		return c, nil
	}
	opts := client.Options{
		PlainHTTP: e.flags.plainHTTP, Credentials: e.logins, UserAgent: userAgent(),
		InternalHosts: e.flags.internalHosts, Log: e.log,
	}
	if e.flags.parts {
		opts.MultipartThreshold = 1
	}
	if uploads, err := openUploads(); err == nil {
		opts.Resume = uploads
	} else if e.flags.parts {
		e.log.Warn("interrupted uploads will start again from the beginning", "error", err)
	}
	c, err := client.New(server, opts)
	if err != nil {
		return nil, err
	}
	e.clients[server] = c
	return c, nil
}

// userAgent returns the header with the version.
func userAgent() string { return "pierless/" + strings.ReplaceAll(version(), " ", "+") }

// openUploads opens the list of unfinished uploads. Some containers have no directory for it:
// then an interrupted push cannot be resumed.
func openUploads() (*images.Uploads, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return images.OpenUploads(filepath.Join(cache, "pierless", "uploads"))
}

// advised adds advice to an error.
func advised(err error) error {
	var refused *client.TargetError
	var answer *client.Error
	switch {
	case err == nil:
	case errors.As(err, &refused) && refused.Internal:
		return fmt.Errorf("%w: --internal-host %s allows it if that is the registry's store", err, refused.Hostname())
	case errors.As(err, &answer) && answer.Registry != "":
		return fmt.Errorf("%w: run 'docker login %s', or set --username and --password-stdin", err, answer.Registry)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: use --plain-http for a registry without TLS", err)
	}
	return err
}
