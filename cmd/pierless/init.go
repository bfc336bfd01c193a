package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
)

const initHelp = `Init creates the S3 bucket and the DynamoDB table where they do not exist, with the
settings that the registry relies on. What exists is left as it is; running it
again changes nothing.`

func newInit(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "init", Short: "Create bucket and table for storage on AWS", Long: initHelp,
		Example: "  pierless init --bucket my-registry --table my-registry",
	}
	c, err := env.Load(getenv)
	return configured(cmd, &c, err, func(cmd *cobra.Command, c env.Config) error {
		if !c.OnAWS() {
			return errors.New("name a bucket and a table: the embedded store needs no init")
		}
		warnings, err := createStore(cmd.Context(), c)
		for _, warning := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "bucket %s and table %s are ready\n", c.Bucket, c.Table)
		return nil
	})
}
