package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/route"
)

// rulesFile is the rules in a file. The version protects the changes of others.
type rulesFile struct {
	access.Settings
	Version *string `json:"version,omitempty"` // nil if the file does not name one
}

func newRulesGet(getenv func(string) string) *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{Use: "get [flags] HOST", Short: "Write the access rules as JSON"}
	return f.command(cmd, getenv, 0, 0, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		rules, err := getRules(cmd.Context(), c)
		if err != nil {
			return err
		}
		return writeJSON(cmd.OutOrStdout(), rules)
	})
}

func newRulesSet(getenv func(string) string) *cobra.Command {
	var f accessFlags
	var force bool
	cmd := &cobra.Command{Use: "set [flags] HOST FILE", Short: "Replace the access rules with those of a file"}
	cmd.Flags().BoolVar(&force, "force", false, "replace the rules whatever their version is")
	return f.command(cmd, getenv, 1, 1, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if args[0] == "-" && f.fromStdin {
			return status2{errors.New("standard input cannot be both the rules and the password: set PIERLESS_PASSWORD")}
		}
		rules, err := readRules(cmd.InOrStdin(), args[0])
		switch {
		case err != nil:
			return status2{fmt.Errorf("read the rules: %w", err)}
		case force:
			rules.Version = nil
		case rules.Version == nil:
			return status2{errors.New("the file has no version: begin with the output of 'pierless access rules get', or use --force")}
		}
		return f.setRules(cmd, c, rules)
	})
}

func newRulesAnonymous(getenv func(string) string) *cobra.Command {
	var f accessFlags
	var none bool
	cmd := &cobra.Command{Use: "anonymous [flags] HOST [PATTERN...]", Short: "Set the repositories that everyone may pull"}
	cmd.Flags().BoolVar(&none, "none", false, "allow no pulls without credentials")
	return f.command(cmd, getenv, 0, access.MaxPatterns, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if none == (len(args) > 0) {
			return status2{errors.New("name the patterns, such as 'public/**', or use --none")}
		}
		rules, err := getRules(cmd.Context(), c)
		if err != nil {
			return err
		}
		rules.Anonymous = args
		return f.setRules(cmd, c, rules)
	})
}

// getRules reads the rules with their version.
func getRules(ctx context.Context, c *client.Client) (rulesFile, error) {
	var rules rulesFile
	etag, err := c.Call(ctx, client.Call{Method: http.MethodGet, Kind: route.AccessRules, Answer: &rules.Settings})
	if err != nil {
		return rules, err
	}
	version := strings.Trim(etag, `"`)
	rules.Version = &version
	return rules, nil
}

// setRules replaces the rules. Without a version it replaces any.
func (f *accessFlags) setRules(cmd *cobra.Command, c *client.Client, rules rulesFile) error {
	call := client.Call{Method: http.MethodPut, Kind: route.AccessRules, IfMatch: "*", Body: rules.Settings, Answer: &rules.Settings}
	if rules.Version != nil {
		call.IfMatch = strconv.Quote(*rules.Version)
	}
	etag, err := c.Call(cmd.Context(), call)
	if err != nil {
		return err
	}
	if f.json {
		version := strings.Trim(etag, `"`)
		rules.Version = &version
		return writeJSON(cmd.OutOrStdout(), rules)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "the rules are in force everywhere within %s\n", access.Fresh)
	return nil
}

// readRules reads rules from a file, or from stdin for "-". It refuses unknown fields: a mistyped
// one would be a missing rule.
func readRules(stdin io.Reader, path string) (rules rulesFile, err error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return rules, err
		}
		defer file.Close()
		stdin = file
	}
	d := json.NewDecoder(stdin)
	d.DisallowUnknownFields()
	if err := d.Decode(&rules); err != nil {
		return rules, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return rules, errors.New("the file has more than one JSON value")
	}
	return rules, rules.Check()
}
