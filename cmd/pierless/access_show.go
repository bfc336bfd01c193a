package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/route"
)

var errNotAllowed = errors.New("the token does not allow it")

func newExplain(getenv func(string) string) *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{Use: "explain [flags] HOST TOKEN REPOSITORY ACTION", Short: "Show whether a token allows an action, and why"}
	return f.command(cmd, getenv, 3, 3, func(cmd *cobra.Command, c *client.Client, args []string) error {
		var e access.Explanation
		_, err := c.Call(cmd.Context(), client.Call{
			Method: http.MethodGet, Kind: route.AccessTest, Answer: &e,
			Query: url.Values{"name": args[:1], "repository": args[1:2], "action": args[2:]},
		})
		if err != nil {
			return err
		}
		if f.json {
			err = writeJSON(cmd.OutOrStdout(), e)
		} else {
			text := "refused: " + e.Reason
			if e.Allowed {
				text = fmt.Sprintf("allowed: %s: %s (%s)", e.Reason, grantText(*cmp.Or(e.Grant, &access.Grant{})), e.Source)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), client.Printable(text))
		}
		if err == nil && !e.Allowed {
			return errNotAllowed
		}
		return err
	})
}

func newAccessLog(getenv func(string) string) *cobra.Command {
	var f accessFlags
	var since time.Time
	cmd := &cobra.Command{Use: "log [flags] HOST", Short: "List the changes of access"}
	cmd.Flags().Func("since", "only changes since this `time`: 24h or 7d ago, or such as 2026-01-31T00:00:00Z", func(s string) error {
		var err error
		if since, err = time.Parse(time.RFC3339, s); err == nil {
			return nil
		}
		ago, err := parseDuration(s)
		since = time.Now().Add(-ago)
		return err
	})
	return f.command(cmd, getenv, 0, 0, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		entries, err := readLog(cmd, c, since)
		if err != nil {
			return err
		}
		if f.json {
			return writeJSON(cmd.OutOrStdout(), access.LogPage{Entries: entries})
		}
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "TIME\tBY\tADDRESS\tCHANGE\tTOKEN\tID")
		for _, e := range entries {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.UTC().Format(time.RFC3339), client.Printable(e.By), cmp.Or(client.Printable(e.IP), "-"),
				client.Printable(e.Action), client.Printable(e.Token), e.ID)
		}
		return t.Flush()
	})
}

// readLog reads all pages.
func readLog(cmd *cobra.Command, c *client.Client, since time.Time) ([]access.Entry, error) {
	query, entries := url.Values{}, []access.Entry{}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	for {
		var page access.LogPage
		_, err := c.Call(cmd.Context(), client.Call{Method: http.MethodGet, Kind: route.AccessLog, Query: query, Answer: &page})
		if err != nil {
			return nil, err
		}
		entries = append(entries, page.Entries...)
		if page.Next == "" || page.Next == query.Get("next") {
			return entries, nil
		}
		query = url.Values{"next": {page.Next}}
	}
}
