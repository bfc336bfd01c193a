package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/localstack/cloud/internal/gateway"
)

// settings are what the flags say.
type settings struct {
	template, functions string // file; folder with <family>/bootstrap
	listen, awsListen   string // host:port of the HTTP API, and of S3 and DynamoDB for functions
	upstream, dynamodb  string // LocalStack's address, and DynamoDB's if it is another one
	bucket, table       string
	names, parameters   map[string]string
	region, account     string
	concurrency         int
	idle                time.Duration
	renameChallenge     bool
	head, slash         string
}

func newCommand() *cobra.Command {
	var c settings
	cmd := &cobra.Command{
		Use: "cloud", Short: "Run template.yaml on this machine", Args: cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
	}
	f := cmd.Flags()
	f.StringVar(&c.template, "template", "template.yaml", "the SAM template")
	f.StringVar(&c.functions, "functions", "bin/functions", "folder with <family>/bootstrap for every function")
	f.StringVar(&c.listen, "listen", "127.0.0.1:5000", "address of the HTTP API")
	f.StringVar(&c.awsListen, "aws-listen", "127.0.0.1:5001", "address of S3 and DynamoDB for functions and presigned URLs")
	f.StringVar(&c.upstream, "aws-endpoint", "http://127.0.0.1:4566", "LocalStack's address")
	f.StringVar(&c.dynamodb, "dynamodb-endpoint", "", "DynamoDB's address, if it is not LocalStack's")
	f.StringVar(&c.bucket, "bucket", "pierless", "name of the template's bucket in LocalStack")
	f.StringVar(&c.table, "table", "pierless", "name of the template's table in LocalStack")
	f.StringToStringVar(&c.names, "name", nil, "logicalID=name of other resources that exist")
	f.StringToStringVar(&c.parameters, "parameter", nil, "name=value of the template's parameters")
	f.StringVar(&c.region, "region", "us-east-1", "the region")
	f.StringVar(&c.account, "account", "000000000000", "the account, as LocalStack has it")
	f.IntVar(&c.concurrency, "concurrency", 100, "instances of a function at once, if the template does not say")
	f.DurationVar(&c.idle, "idle", 5*time.Minute, "how long an idle instance is kept")
	f.BoolVar(&c.renameChallenge, "rename-challenge", false, "rename WWW-Authenticate to X-Amzn-Remapped-WWW-Authenticate")
	f.StringVar(&c.head, "head", gateway.HeadComputed, "Content-Length of HEAD: computed (of the function's body) or handler (its header)")
	f.StringVar(&c.slash, "trailing-slash", gateway.SlashKeep, "a slash at the end of paths: keep or strip")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := &lockedWriter{to: cmd.ErrOrStderr()}
		cloud, err := start(cmd.Context(), c, out, slog.New(slog.NewTextHandler(out, nil)))
		if err != nil {
			return err
		}
		return cloud.wait(cmd.Context())
	}
	return cmd
}

// lockedWriter keeps the lines of functions apart from each other and from the log's.
type lockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

// Write implements io.Writer.
func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}
