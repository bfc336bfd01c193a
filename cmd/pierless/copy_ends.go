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

// copyEnds is what a copy works with.
type copyEnds struct {
	from  images.Source
	to    images.Destination
	spool *images.Spool
}

// Close drops what was not finished.
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

// opener opens places; registries and daemon once.
type opener struct {
	cmd     *cobra.Command
	f       copyFlags
	log     io.Writer
	getenv  func(string) string
	spool   *images.Spool
	logins  func(ctx context.Context, host string) (client.Credential, error)
	clients map[string]*client.Client
}

func (f copyFlags) open(cmd *cobra.Command, getenv func(string) string, log io.Writer, from, to images.Reference) (ends *copyEnds, err error) {
	spool := images.NewSpool(os.TempDir(), 0)
	ends = &copyEnds{spool: spool}
	defer func() {
		if err != nil {
			err = errors.Join(err, ends.Close())
		}
	}()
	o := &opener{cmd: cmd, f: f, log: log, getenv: getenv, spool: spool, clients: map[string]*client.Client{}}
	server, err := loginServer(from, to)
	if err != nil {
		return ends, err
	}
	o.logins = f.logins(getenv, server)
	if ends.from, err = o.source(from); err != nil {
		return ends, err
	}
	ends.to, err = o.destination(to)
	return ends, err
}

// loginServer is the registry that a user name on the command line is for: that of the
// destination, if it is one; empty where there is none.
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
	return server.Host, nil // as the client calls it: that of Docker Hub is another than its name
}

func (o *opener) source(p images.Reference) (images.Source, error) {
	switch p.Transport {
	case images.DockerDaemon:
		d, err := newDaemon(o.getenv)
		if err != nil {
			return nil, err
		}
		return images.FromDaemon(d, p.Name, o.spool), nil
	case images.OCILayout:
		return images.FromLayout(p.Path, p.Selector)
	case images.DockerArchive, images.OCIArchive:
		return images.FromArchive(p, o.cmd.InOrStdin(), o.spool)
	case images.SelfImage:
		if p.Path == "" {
			running, err := os.Executable()
			if err != nil {
				return nil, fmt.Errorf("find the binary that runs: %w", err)
			}
			p.Path = running
		}
		return images.FromSelf(p.Path, o.spool)
	}
	c, err := o.client(p.Name.Host)
	if err != nil {
		return nil, err
	}
	return images.FromRegistry(c, p.Name)
}

func (o *opener) destination(p images.Reference) (images.Destination, error) {
	switch p.Transport {
	case images.DockerDaemon:
		d, err := newDaemon(o.getenv)
		if err != nil {
			return nil, err
		}
		return images.ToDaemon(o.cmd.Context(), d, p.Name, o.spool), nil
	case images.OCILayout:
		return images.ToLayout(p.Path, p.Selector.Tag)
	case images.DockerArchive, images.OCIArchive:
		return images.ToArchive(p, o.spool)
	}
	c, err := o.client(p.Name.Host)
	if err != nil {
		return nil, err
	}
	return images.ToRegistry(c, p.Name)
}

// client is the one for a registry: connections and tokens are shared where an image
// is copied inside of it.
func (o *opener) client(server string) (*client.Client, error) {
	if c := o.clients[server]; c != nil {
		return c, nil
	}
	opts := client.Options{
		PlainHTTP: o.f.plainHTTP, Credentials: o.logins, UserAgent: "pierless/" + strings.ReplaceAll(version(), " ", "+"),
		InternalHosts: o.f.internalHosts,
		Log:           slog.New(newNotices(o.log)),
	}
	if o.f.parts {
		opts.MultipartThreshold = 1
	}
	if uploads, err := openUploads(); err == nil {
		opts.Resume = uploads
	} else if o.f.parts {
		opts.Log.Warn("uploads that are interrupted start again next time", "error", err)
	}
	c, err := client.New(server, opts)
	if err != nil {
		return nil, err
	}
	o.clients[server] = c
	return c, nil
}

// openUploads remembers unfinished uploads. Where there is no place for that, as in some
// containers, a push works without.
func openUploads() (*images.Uploads, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return images.OpenUploads(filepath.Join(cache, "pierless", "uploads"))
}

// advised adds to an error what to do about it.
func advised(err error) error {
	var refused *client.TargetError
	var answer *client.Error
	switch {
	case err == nil:
	case errors.As(err, &refused) && refused.Internal:
		return fmt.Errorf("%w: --internal-host %s allows it, if that is the registry's store", err, refused.Hostname())
	case errors.As(err, &answer) && answer.Registry != "":
		return fmt.Errorf("%w: run 'docker login %s', or give --username and --password-stdin", err, answer.Registry)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: --plain-http speaks to it without TLS", err)
	}
	return err
}
