package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/route"
)

// tokenPage is the answer with a list of tokens.
type tokenPage struct {
	Tokens []access.Token `json:"tokens"`
}

func newTokenCreate(getenv func(string) string) *cobra.Command {
	var f accessFlags
	var req access.NewTokenRequest
	cmd := &cobra.Command{Use: "create [flags] HOST NAME", Short: "Create a token"}
	cmd.Flags().Func("grant", "`PATTERNS=ACTIONS` that the token allows, such as 'team/**=pull,push' (repeatable)", func(s string) error {
		g, err := parseGrant(s)
		req.Grants = append(req.Grants, g)
		return err
	})
	cmd.Flags().Func("expires", "`time` until the token expires, such as 12h or 90d (default: never)", func(s string) error {
		life, err := parseDuration(s)
		req.Life = life.String()
		return err
	})
	cmd.Flags().StringVar(&req.Note, "note", "", "`text` for the list of tokens")
	return f.command(cmd, getenv, 1, 1, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if len(req.Grants) == 0 {
			return status2{fmt.Errorf("the token needs a grant: --grant 'team/**=pull,push'")}
		}
		req.Name = args[0]
		return f.issue(cmd, c, route.AccessTokens, req)
	})
}

func newTokenRotate(getenv func(string) string) *cobra.Command {
	var f accessFlags
	var req access.RotateRequest
	cmd := &cobra.Command{Use: "rotate [flags] HOST NAME", Short: "Give a token a new secret"}
	cmd.Flags().Func("overlap", "`time` for which the old secret may still be used, such as 1h (default 24h)", func(s string) error {
		overlap, err := parseDuration(s)
		req.Overlap = overlap.String()
		return err
	})
	return f.command(cmd, getenv, 1, 1, func(cmd *cobra.Command, c *client.Client, args []string) error {
		req.Name = args[0]
		return f.issue(cmd, c, route.AccessRotate, req)
	})
}

// issue writes a new token: the secret alone goes to standard output, for scripts.
func (f *accessFlags) issue(cmd *cobra.Command, c *client.Client, kind route.Kind, req any) error {
	var issued access.Issued
	_, err := c.Call(cmd.Context(), client.Call{Method: http.MethodPost, Kind: kind, Body: req, Answer: &issued})
	if err != nil {
		return err
	}
	if f.json {
		return writeJSON(cmd.OutOrStdout(), issued)
	}
	t := issued.Token
	fmt.Fprintln(cmd.ErrOrStderr(), client.Printable(fmt.Sprintf("token %s (%s): %s, expires %s; the secret is shown only once",
		t.Name, t.ID, grantTexts(t.Grants), timeText(t.Expires))))
	_, err = fmt.Fprintln(cmd.OutOrStdout(), issued.Secret)
	return err
}

func newTokenList(getenv func(string) string) *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{Use: "list [flags] HOST", Short: "List the tokens that you may manage"}
	return f.command(cmd, getenv, 0, 0, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		var page tokenPage
		if _, err := c.Call(cmd.Context(), client.Call{Method: http.MethodGet, Kind: route.AccessTokens, Answer: &page}); err != nil {
			return err
		}
		if f.json {
			return writeJSON(cmd.OutOrStdout(), page)
		}
		return writeTokens(cmd.OutOrStdout(), page.Tokens, time.Now())
	})
}

func writeTokens(w io.Writer, tokens []access.Token, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tID\tGRANTS\tEXPIRES\tLAST USE\tCREATED BY\tNOTE")
	for _, token := range tokens {
		expires := timeText(token.Expires)
		if !token.Lives(now) {
			expires = "expired"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", client.Printable(token.Name), token.ID, client.Printable(grantTexts(token.Grants)),
			expires, cmp.Or(token.Used, "-"), client.Printable(token.By), client.Printable(token.Note))
	}
	return t.Flush()
}

func newTokenRevoke(getenv func(string) string) *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{Use: "revoke [flags] HOST NAME|ID", Short: "Revoke a token"}
	return f.command(cmd, getenv, 1, 1, func(cmd *cobra.Command, c *client.Client, args []string) error {
		var page tokenPage
		_, err := c.Call(cmd.Context(), client.Call{
			Method: http.MethodDelete, Kind: route.AccessTokens, Query: url.Values{"name": args}, Answer: &page,
		})
		if err != nil {
			return err
		}
		if f.json {
			return writeJSON(cmd.OutOrStdout(), page)
		}
		for _, t := range page.Tokens {
			fmt.Fprintln(cmd.OutOrStdout(), client.Printable(fmt.Sprintf("revoked %s (%s), within %s everywhere", t.Name, t.ID, access.Fresh)))
		}
		return nil
	})
}
