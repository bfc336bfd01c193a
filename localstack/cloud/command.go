package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/localstack/cloud/internal/gateway"
)

// settings holds the values of the flags.
type settings struct {
	template, functions string // file; directory with <family>/bootstrap
	listen, awsListen   string // host:port of the HTTP API, and of S3 and DynamoDB for functions
	upstream, dynamodb  string // URL of LocalStack, and of DynamoDB if it differs
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
	f.StringVar(&c.functions, "functions", "bin/functions", "directory with <family>/bootstrap for every function")
	f.StringVar(&c.listen, "listen", "127.0.0.1:5000", "address of the HTTP API")
	f.StringVar(&c.awsListen, "aws-listen", "127.0.0.1:5001", "address of S3 and DynamoDB for functions and presigned URLs")
	f.StringVar(&c.upstream, "aws-endpoint", "http://127.0.0.1:4566", "URL of LocalStack")
	f.StringVar(&c.dynamodb, "dynamodb-endpoint", "", "URL of DynamoDB, if it differs from LocalStack's")
	f.StringVar(&c.bucket, "bucket", "pierless", "name of the template's bucket in LocalStack")
	f.StringVar(&c.table, "table", "pierless", "name of the template's table in LocalStack")
	f.StringToStringVar(&c.names, "name", nil, "logicalID=name of another existing resource")
	f.StringToStringVar(&c.parameters, "parameter", nil, "name=value of a template parameter")
	f.StringVar(&c.region, "region", "us-east-1", "AWS region")
	f.StringVar(&c.account, "account", "000000000000", "AWS account ID, which LocalStack must use too")
	f.IntVar(&c.concurrency, "concurrency", 100, "concurrency limit of a function without ReservedConcurrentExecutions")
	f.DurationVar(&c.idle, "idle", 5*time.Minute, "time after which an idle instance is stopped")
	f.BoolVar(&c.renameChallenge, "rename-challenge", false, "rename WWW-Authenticate to X-Amzn-Remapped-WWW-Authenticate")
	f.StringVar(&c.head, "head", gateway.HeadComputed, "Content-Length of HEAD responses: computed (from the function's body) or handler (the function's header)")
	f.StringVar(&c.slash, "trailing-slash", gateway.SlashKeep, "slash at the end of a path: keep or strip")
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

// lockedWriter serializes the lines that the functions and the log write.
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
