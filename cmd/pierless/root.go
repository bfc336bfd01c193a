package main

import (
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
)

func newRoot(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:           "pierless",
		Short:         "A private OCI registry, serverless or as one process",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServe(getenv), newInit(getenv), newToken(), newGC(getenv), newScrub(getenv), newVerify(getenv),
		newDoctor(getenv), newPush(getenv), newPull(getenv), newCopy(getenv), newRm(getenv), newProxy(getenv), newAccess(getenv),
		newLogin(getenv), newDockerCredential(getenv), newCredentialProvider(getenv))
	setHelp(root)
	const usages = ".FlagUsages"
	const more = " for more information about a command."
	root.SetUsageTemplate(strings.NewReplacer(usages, usages+"Wrapped 80", more, " for its help.").Replace(root.UsageTemplate()))
	return root
}

// version returns the module's version, with the commit if the build recorded it.
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

// configured adds the flags of commands that open a store. Their defaults are in c, which was
// loaded from the environment; run gets the result.
func configured(cmd *cobra.Command, c *env.Config, loadErr error, run func(*cobra.Command, env.Config) error) *cobra.Command {
	f := cmd.Flags()
	f.StringVar(&c.Bucket, "bucket", c.Bucket, "S3 `bucket` for content; set it with --table for storage on AWS (PIERLESS_BUCKET)")
	f.StringVar(&c.Table, "table", c.Table, "DynamoDB `table` for metadata (PIERLESS_TABLE)")
	f.StringVar(&c.SSE, "sse", c.SSE, "S3 encryption: AES256 or aws:kms (default: that of the bucket) (PIERLESS_SSE)")
	f.StringVar(&c.KMSKey, "kms-key", c.KMSKey, "KMS `key` for --sse aws:kms (PIERLESS_KMS_KEY)")
	addLog(cmd, &c.Log)
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

// addLog adds the flag for the log format.
func addLog(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "log", *format, "log `format`: text or json (PIERLESS_LOG)")
}

// addGrace adds the flag for the grace of garbage collection.
func addGrace(cmd *cobra.Command, c *env.Config) {
	cmd.Flags().DurationVar(&c.Grace, "grace", c.Grace,
		"`time` for which unused content is kept, the same for all processes of a registry (PIERLESS_GRACE)")
}

// addDataDir adds the flag for the directory of the embedded store.
func addDataDir(cmd *cobra.Command, c *env.Config) {
	cmd.Flags().StringVar(&c.Data, "data-dir", c.Data, "`directory` of the embedded store (PIERLESS_DATA_DIR)")
}
