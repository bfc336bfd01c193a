package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/awsproof"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/client/login"
)

// loginFlags are the flags of login.
type loginFlags struct {
	tokenStdin, helper, plainHTTP, json bool
}

func newLogin(getenv func(string) string) *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{Use: "login [flags] HOST", Short: "Log in as a CI job, a pod or an AWS role", Args: between(1, 1)}
	flags := cmd.Flags()
	flags.BoolVar(&f.tokenStdin, "token-stdin", false, "log in with a token from standard input")
	flags.BoolVar(&f.helper, "helper", false, "have docker ask docker-credential-pierless, which renews the token")
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "use http for the registry")
	flags.BoolVar(&f.json, "json", false, "write the result as JSON, without the token")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return status2{err} })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		base, err := client.ParseRegistry(args[0], f.plainHTTP)
		if err != nil {
			return status2{err}
		}
		session, err := f.log(cmd, getenv, base.String())
		if err != nil {
			return fmt.Errorf("log in to %s: %w", base.Host, err)
		}
		saved, err := f.save(cmd, getenv, session)
		if err != nil {
			return fmt.Errorf("save the token: %w", err)
		}
		return f.report(cmd.OutOrStdout(), session, saved)
	}
	return cmd
}

// log returns a session: with the token on standard input, or for a proof.
func (f loginFlags) log(cmd *cobra.Command, getenv func(string) string, registry string) (login.Session, error) {
	if !f.tokenStdin {
		return proveTo(cmd, registry, append(login.Environment(getenv), awsSources(cmd.Context())...)...)
	}
	given := credentials{fromStdin: true}
	if err := given.read(cmd.InOrStdin()); err != nil {
		return login.Session{}, err
	}
	c, err := loginClient(cmd, registry, func(context.Context, string) (client.Credential, error) {
		return client.Credential{Username: login.Username, Password: given.password}, nil
	})
	if err != nil {
		return login.Session{}, err
	}
	return login.Session{Host: c.Host(), Username: login.Username, Token: given.password}, c.Ping(cmd.Context())
}

// proveTo logs in to a registry with the first proof that it accepts.
func proveTo(cmd *cobra.Command, registry string, sources ...login.Source) (login.Session, error) {
	c, err := loginClient(cmd, registry, nil)
	if err != nil {
		return login.Session{}, err
	}
	return login.Login(cmd.Context(), c, sources...)
}

// loginAttempts is less than that of the client: docker and the kubelet wait for a login.
const loginAttempts = 3

func loginClient(cmd *cobra.Command, registry string, ask func(context.Context, string) (client.Credential, error)) (*client.Client, error) {
	return client.New(registry, client.Options{
		Credentials: ask, UserAgent: userAgent(), Attempts: loginAttempts, Log: slog.New(newNotices(cmd.ErrOrStderr())),
	})
}

// awsSources prove the identity of the AWS credentials of the environment. They look for these when
// they are asked.
func awsSources(ctx context.Context) []login.Source {
	load := sync.OnceValues(func() (aws.Config, error) {
		cfg, err := awsenv.Config(ctx)
		if err == nil {
			_, err = cfg.Credentials.Retrieve(ctx)
		}
		if err != nil {
			return aws.Config{}, fmt.Errorf("%w (AWS: %w)", login.ErrNone, err)
		}
		return cfg, nil
	})
	token := func(ctx context.Context, host string) (access.Proof, error) {
		cfg, err := load()
		if err != nil {
			return access.Proof{}, err
		}
		token, err := awsproof.WebIdentityToken(ctx, cfg, login.Audience(host))
		return access.Proof{OIDC: token}, err
	}
	identity := func(ctx context.Context, host string) (access.Proof, error) {
		cfg, err := load()
		if err != nil {
			return access.Proof{}, err
		}
		url, err := awsproof.PresignCallerIdentity(ctx, cfg, host, time.Now())
		return access.Proof{STS: url}, err
	}
	return []login.Source{{Name: "AWS web identity token", Prove: token}, {Name: "AWS caller identity", Prove: identity}}
}

// save saves a session where docker finds it, and returns the place.
func (f loginFlags) save(cmd *cobra.Command, getenv func(string) string, s login.Session) (place string, err error) {
	file, err := readDockerFile(filepath.Join(dockerDir(getenv), "config.json"))
	if err != nil {
		return "", err
	}
	helper := helperName
	if !f.helper {
		if helper, err = file.helper(s.Host); err != nil {
			return "", err
		}
	}
	switch {
	case helper == "":
		return file.path, file.setLogin(s)
	case helper != helperName:
		return "docker-credential-" + helper, storeInHelper(cmd.Context(), helper, s)
	}
	cache, err := openLogins(cmd)
	if err != nil {
		return "", err
	}
	if err := cache.Save(s); err != nil {
		return "", err
	}
	if _, err := exec.LookPath("docker-credential-" + helperName); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: docker-credential-%s is not in PATH: link it to this program\n", helperName)
	}
	return file.path, file.setHelper(s.Host)
}

// openLogins opens the cache of sessions.
func openLogins(cmd *cobra.Command) (*login.Cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, errors.New("there is no directory for the token: set HOME or XDG_CACHE_HOME")
	}
	return login.OpenCache(filepath.Join(dir, "pierless", "logins"), slog.New(newNotices(cmd.ErrOrStderr())))
}

// report writes who is logged in, and until when.
func (f loginFlags) report(w io.Writer, s login.Session, saved string) error {
	if f.json {
		return writeJSON(w, struct {
			login.Session
			Token string `json:"token,omitempty"` // stays empty, and hides that of the session
			Saved string `json:"saved"`
		}{Session: s, Saved: saved})
	}
	text := "logged in to " + s.Host
	if s.Name != "" {
		text += fmt.Sprintf(" as %s until %s", s.Name, timeText(s.Expires))
	}
	_, err := fmt.Fprintln(w, client.Printable(text+"; saved in "+saved))
	return err
}
