package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/route"
)

func newAccess(getenv func(string) string) *cobra.Command {
	tokens := group("token", "Create, list, revoke and rotate tokens",
		newTokenCreate(getenv), newTokenList(getenv), newTokenRevoke(getenv), newTokenRotate(getenv))
	rules := group("rules", "Show and change the access rules",
		newRulesGet(getenv), newRulesSet(getenv), newRulesAnonymous(getenv))
	return group("access", "Manage tokens and access rules of a registry", tokens, rules, newExplain(getenv), newAccessLog(getenv))
}

// group returns a command that has only subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(commands...)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return status2{err} })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return status2{fmt.Errorf("%s has no command %q: --help lists them", cmd.CommandPath(), args[0])}
		}
		return cmd.Help()
	}
	return cmd
}

// accessFlags are the flags of all commands of access.
type accessFlags struct {
	credentials
	plainHTTP, json bool
}

// command adds the flags, and the code of a command for the registry in its first argument, with
// from least to most further arguments. run gets a client of the registry.
func (f *accessFlags) command(
	cmd *cobra.Command, getenv func(string) string, least, most int, run func(cmd *cobra.Command, c *client.Client, args []string) error,
) *cobra.Command {
	f.addFlags(cmd, getenv)
	cmd.Flags().BoolVar(&f.plainHTTP, "plain-http", false, "use http for the registry")
	cmd.Flags().BoolVar(&f.json, "json", false, "write the result as JSON")
	cmd.Args = between(least+1, most+1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := f.check()
		if err == nil {
			err = f.read(cmd.InOrStdin())
		}
		if err != nil {
			return status2{err}
		}
		base, err := client.ParseRegistry(args[0], f.plainHTTP)
		if err != nil {
			return status2{err}
		}
		c, err := client.New(base.String(), client.Options{
			Credentials: f.logins(getenv, base.Host), UserAgent: userAgent(), Log: slog.New(newNotices(cmd.ErrOrStderr())),
		})
		if err != nil {
			return err
		}
		return advised(run(cmd, c, args[1:]))
	}
	return cmd
}

// between requires from least to most arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return status2{fmt.Errorf("%d arguments are the wrong number: %s", len(args), cmd.UseLine())}
		}
		return nil
	}
}

// parseGrant parses a grant of the command line: team/**,lib/*=pull,push.
func parseGrant(s string) (access.Grant, error) {
	at := strings.LastIndexByte(s, '=')
	if at < 0 {
		return access.Grant{}, fmt.Errorf("%q is not a grant such as 'team/**=pull,push'", s)
	}
	g := access.Grant{Repositories: strings.Split(s[:at], ",")}
	for action := range strings.SplitSeq(s[at+1:], ",") {
		g.Actions = append(g.Actions, route.Action(action))
	}
	return g, access.Grants{g}.Check()
}

// grantText returns a grant as parseGrant takes it.
func grantText(g access.Grant) string {
	actions := make([]string, 0, len(g.Actions))
	for _, action := range g.Actions {
		actions = append(actions, string(action))
	}
	return strings.Join(g.Repositories, ",") + "=" + strings.Join(actions, ",")
}

func grantTexts(grants access.Grants) string {
	all := make([]string, 0, len(grants))
	for _, g := range grants {
		all = append(all, grantText(g))
	}
	return strings.Join(all, " ")
}

// parseDuration parses a duration in Go's form, or in days.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, found := strings.CutSuffix(s, "d"); found {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if n > 100*365 {
			d = 0
		}
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration such as 12h or 90d", s)
	}
	return d, nil
}

// timeText shows a time; the zero value is never.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}
