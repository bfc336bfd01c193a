package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/localstack/cloud/internal/gateway"
	"github.com/pierless/pierless/localstack/cloud/internal/iam"
	"github.com/pierless/pierless/localstack/cloud/internal/lambda"
	"github.com/pierless/pierless/localstack/cloud/internal/policyproxy"
	"github.com/pierless/pierless/localstack/cloud/internal/template"
)

const (
	headerTimeout = 10 * time.Second // to send the request line and headers
	stopTimeout   = 5 * time.Second  // for running requests at shutdown
	// secret signs presigned URLs; LocalStack verifies them with the same one.
	secret = "test"
)

// cloud holds everything that runs.
type cloud struct {
	functions map[string]*lambda.Function // by logical ID
	gateway   *gateway.Gateway
	proxy     *policyproxy.Proxy
	servers   []*http.Server
	failed    chan error
	address   string // of the HTTP API
	guard     guard.Guard
	log       *slog.Logger
}

// start reads the template and starts the HTTP API and the proxy. Functions start with
// their first invocation, but errors in the template are returned here.
func start(ctx context.Context, c settings, out io.Writer, log *slog.Logger) (*cloud, error) {
	stack, err := template.Load(c.template, template.Options{
		Parameters: c.parameters, Region: c.region, AccountID: c.account, Bucket: c.bucket, Table: c.table, Names: c.names,
	})
	if err != nil {
		return nil, err
	}
	for _, warning := range stack.Warnings {
		log.Warn(warning)
	}
	cl := &cloud{functions: map[string]*lambda.Function{}, failed: make(chan error, 2), log: log}
	awsListener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.awsListen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := cl.build(c, stack, "http://"+awsListener.Addr().String(), out); err != nil {
		_ = awsListener.Close()
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.listen)
	if err != nil {
		_ = awsListener.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	cl.address = listener.Addr().String()
	cl.guard = guard.New(c.listen, nil)
	cl.serve(awsListener, cl.proxy)
	cl.serve(listener, http.HandlerFunc(cl.front))
	log.Info("ready", "listen", cl.address, "aws", awsListener.Addr().String(),
		"functions", len(stack.Functions), "routes", len(stack.Routes))
	return cl, nil
}

func (cl *cloud) build(c settings, stack *template.Stack, awsEndpoint string, out io.Writer) error {
	upstream, err := url.Parse(c.upstream)
	if err != nil || upstream.Host == "" {
		return fmt.Errorf("the address of LocalStack is not a URL: %q", c.upstream)
	}
	var dynamodb *url.URL
	if c.dynamodb != "" {
		if dynamodb, err = url.Parse(c.dynamodb); err != nil || dynamodb.Host == "" {
			return fmt.Errorf("the address of DynamoDB is not a URL: %q", c.dynamodb)
		}
	}
	principals := map[string]policyproxy.Principal{}
	for _, f := range stack.Functions {
		policy, err := iam.Parse(f.Statements)
		if err != nil {
			return fmt.Errorf("the policy of %s: %w", f.LogicalID, err)
		}
		principals[f.LogicalID] = policyproxy.Principal{Name: f.LogicalID, Policy: policy}
		if cl.functions[f.LogicalID], err = newFunction(c, f, awsEndpoint, out, cl.log); err != nil {
			return err
		}
	}
	hashKeys := map[string]string{}
	for _, table := range stack.Tables {
		hashKeys[table.Name] = table.HashKey
	}
	cl.proxy = policyproxy.New(upstream, policyproxy.Config{
		Region: c.region, AccountID: c.account, DynamoDB: dynamodb, HashKeys: hashKeys, Principals: principals,
	}, cl.log)
	cl.gateway, err = gateway.New(routes(stack), gateway.Options{
		APIID: stack.APIID, AccountID: c.account, Region: c.region, RenameChallenge: c.renameChallenge,
		Head: c.head, TrailingSlash: c.slash, Invoke: cl.invoke, Log: cl.log,
	})
	return err
}

// newFunction finds the binary by the logical ID: that of BlobsFunction is in blobs.
func newFunction(c settings, f template.Function, awsEndpoint string, out io.Writer, log *slog.Logger) (*lambda.Function, error) {
	binary, err := filepath.Abs(filepath.Join(c.functions, strings.ToLower(strings.TrimSuffix(f.LogicalID, "Function")), "bootstrap"))
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(binary); err != nil || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s has no binary: %s is missing or not executable", f.LogicalID, binary)
	}
	// The access key stands for the function's role: the proxy looks it up.
	env := map[string]string{
		"AWS_ACCESS_KEY_ID": f.LogicalID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "local-" + f.LogicalID,
		"AWS_ENDPOINT_URL_S3": awsEndpoint, "AWS_ENDPOINT_URL_DYNAMODB": awsEndpoint,
	}
	for name, value := range f.Environment {
		// The template may set endpoints of another emulator: these take precedence.
		if _, ours := env[name]; !ours {
			env[name] = value
		}
	}
	concurrency := f.Concurrency
	if concurrency < 0 {
		concurrency = c.concurrency
	}
	return lambda.New(lambda.Config{
		Name: f.Name, ARN: f.ARN, Binary: binary, Env: env, Region: c.region, Memory: f.Memory,
		Timeout: time.Duration(f.Timeout) * time.Second, Concurrency: concurrency, Idle: c.idle, Log: log, Output: out,
	})
}

func routes(stack *template.Stack) []gateway.Route {
	var all []gateway.Route
	for _, r := range stack.Routes {
		all = append(all, gateway.Route{
			Key: r.Key, Function: r.Function, Timeout: time.Duration(r.TimeoutMillis) * time.Millisecond,
			Permitted: r.Permitted, Mapping: r.Mapping,
		})
	}
	return all
}

// invoke is the gateway's Invoker: it translates the errors of package lambda.
func (cl *cloud) invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	out, err := cl.functions[function].Invoke(ctx, payload)
	switch {
	case errors.Is(err, lambda.ErrTooLarge):
		return nil, fmt.Errorf("%w: %w", gateway.ErrTooLarge, err)
	case errors.Is(err, lambda.ErrThrottled):
		return nil, fmt.Errorf("%w: %w", gateway.ErrThrottled, err)
	}
	return out, err
}

// front serves the API and the paths under /_cloud/, which need no credentials. The
// guard rejects requests that web pages send there.
func (cl *cloud) front(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/_cloud/") {
		cl.gateway.ServeHTTP(w, r)
		return
	}
	if err := cl.guard.Check(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	id, invoke := strings.CutPrefix(r.URL.Path, "/_cloud/invoke/")
	switch {
	case invoke:
		cl.invokeByHand(w, r, id)
	case r.URL.Path == "/_cloud/stats":
		cl.writeStats(w)
	default:
		http.NotFound(w, r)
	}
}

// invokeByHand invokes a function as a schedule does, with the request's body or {} as
// the event, and responds with the function's result.
func (cl *cloud) invokeByHand(w http.ResponseWriter, r *http.Request, id string) {
	f, known := cl.functions[id]
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	case !known:
		http.Error(w, "there is no function with this logical ID", http.StatusNotFound)
		return
	}
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, lambda.MaxRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	out, err := f.Invoke(r.Context(), payload)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out) // fails only if the client is gone
}

func (cl *cloud) writeStats(w http.ResponseWriter) {
	functions := map[string]functionStats{}
	calls := cl.proxy.Stats()
	for id, f := range cl.functions {
		functions[id] = functionStats{Lambda: f.Stats(), AWS: calls[id]}
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(stats{Gateway: cl.gateway.Stats(), Functions: functions}) // fails only if the client is gone
}

// stats is the body of GET /_cloud/stats: counts since the start.
type stats struct {
	Gateway   gateway.Stats            `json:"gateway"`
	Functions map[string]functionStats `json:"functions"`
}

type functionStats struct {
	Lambda lambda.Stats      `json:"lambda"`
	AWS    policyproxy.Stats `json:"aws"`
}

func (cl *cloud) serve(listener net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout,
		// The gateway's own limit is lower and has API Gateway's response.
		MaxHeaderBytes: 1 << 20, ErrorLog: slog.NewLogLogger(cl.log.Handler(), slog.LevelDebug),
	}
	cl.servers = append(cl.servers, server)
	go func() { cl.failed <- server.Serve(listener) }()
}

// wait serves until the context ends, then stops everything.
func (cl *cloud) wait(ctx context.Context) error {
	var err error
	select {
	case err = <-cl.failed:
	case <-ctx.Done():
	}
	cl.stop()
	return err
}

func (cl *cloud) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for i := len(cl.servers) - 1; i >= 0; i-- { // the API first
		if cl.servers[i].Shutdown(ctx) != nil {
			_ = cl.servers[i].Close() // aborts the requests that are still running
		}
	}
	for _, f := range cl.functions {
		f.Close()
	}
}
