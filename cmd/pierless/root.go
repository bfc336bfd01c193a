package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
)

const rootHelp = `Pierless is a private OCI registry. In an AWS account it runs as Lambda functions
over S3 and DynamoDB; as this command it is one process, over the same storage
or over a folder of its own.

  pierless serve                    a registry on 127.0.0.1:5000, stored in ./pierless-data
  docker push 127.0.0.1:5000/hello  works at once: docker trusts the loopback address
  pierless push HOST/app:1          an image of any size, from Docker, to any registry
  pierless proxy HOST               the same for docker push and every other client
  pierless verify 127.0.0.1:5000    what this or any other registry does wrong, if anything
  pierless doctor https://...       what is wrong with a deployment, and what to set

Settings of a registry have variables, too: the flag wins. --help of each command
lists both.`

func newRoot(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:           "pierless",
		Short:         "A private OCI registry, serverless or as one process",
		Long:          rootHelp,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServe(getenv), newInit(getenv), newToken(), newVerify(getenv), newDoctor(getenv), newSweep(getenv))
	root.AddCommand(newPush(getenv), newPull(getenv), newCopy(getenv), newProxy(getenv))
	return root
}

// version is the module's, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Main.Version + " " + s.Value
		}
	}
	return info.Main.Version
}

// configured gives a command the flags that all have, with c, which was loaded from
// the environment, as their defaults. c is complete when run is called.
func configured(cmd *cobra.Command, c *env.Config, loadErr error, run func(*cobra.Command, env.Config) error) *cobra.Command {
	f := cmd.Flags()
	f.StringVar(&c.Bucket, "bucket", c.Bucket, "S3 bucket for the bytes; with --table, storage is on AWS (PIERLESS_BUCKET)")
	f.StringVar(&c.Table, "table", c.Table, "DynamoDB table for everything that points at bytes (PIERLESS_TABLE)")
	f.StringVar(&c.SSE, "sse", c.SSE, "encryption that S3 is asked for: AES256 or aws:kms; empty: the bucket's default (PIERLESS_SSE)")
	f.StringVar(&c.KMSKey, "kms-key", c.KMSKey, "KMS key for --sse aws:kms (PIERLESS_KMS_KEY)")
	f.StringVar(&c.Log, "log", c.Log, "log format: text or json (PIERLESS_LOG)")
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if loadErr != nil {
			return loadErr
		}
		if err := c.Check(); err != nil {
			return err
		}
		return run(cmd, *c)
	}
	return cmd
}
