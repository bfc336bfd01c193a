package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/access"
)

func newToken() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "token", Short: "Create an administrator's token", Args: cobra.NoArgs}
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"token","sha256"}`)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		token, sum := access.NewToken()
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"token": token, "sha256": sum})
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "token   %s   the password for docker login, shown only once\nsha256  %s   for the registry: PIERLESS_ADMIN_TOKEN_SHA256\n", token, sum)
		return err
	}
	return cmd
}
