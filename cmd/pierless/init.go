package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
)

func newInit(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "init", Short: "Create the bucket and the table for storage on AWS"}
	c, err := env.Load(getenv)
	return configured(cmd, &c, err, func(cmd *cobra.Command, c env.Config) error {
		if !c.OnAWS() {
			return errors.New("set --bucket and --table: the embedded store needs no init")
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
