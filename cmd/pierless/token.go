package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/server/auth"
)

const tokenHelp = `Token prints a new administrator's token and its SHA-256. It stores neither.

The token is the password for 'docker login', with any user name. Keep it
secret. The SHA-256 is not secret; give it to the registry:

  pierless serve    --admin-token-sha256 or PIERLESS_ADMIN_TOKEN_SHA256
  a deployment      parameter AdminTokenSha256 of template.yaml

The token is valid until the registry gets another SHA-256.`

const tokenExample = `  pierless token
  pierless token --json | jq -r .sha256`

func newToken() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "token", Short: "Create an administrator's token", Long: tokenHelp, Example: tokenExample,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"token","sha256"}`)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		token, sum := auth.NewToken()
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"token": token, "sha256": sum})
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "token   %s   the password for docker login, shown only once\nsha256  %s   for the registry: PIERLESS_ADMIN_TOKEN_SHA256\n", token, sum)
		return err
	}
	return cmd
}
