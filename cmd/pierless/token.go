package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/server/auth"
)

const tokenHelp = `Token prints a new administrator's token and its SHA-256, both once: nothing is kept.

The token is the password of 'docker login'; any user name will do. Keep it where you
keep passwords. The SHA-256 is what the registry gets, and no secret: the token cannot
be found from it. Give it to

  pierless serve    as --admin-token-sha256, or in PIERLESS_ADMIN_TOKEN_SHA256
  a deployment      as the template's parameter for it, which hands the functions
                    PIERLESS_ADMIN_TOKEN_SHA256

Replacing the SHA-256 ends the old token.`

const tokenExample = `  pierless token
  pierless token --json | jq -r .sha256`

func newToken() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "token", Short: "Make an administrator's token and its SHA-256", Long: tokenHelp, Example: tokenExample,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"token","sha256"}`)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		token, sum := auth.NewToken()
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"token": token, "sha256": sum})
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "token   %s   for you: the password of docker login, shown only now\nsha256  %s   for the registry: PIERLESS_ADMIN_TOKEN_SHA256\n", token, sum)
		return err
	}
	return cmd
}
