//go:build localstack

package faultproxy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/internal/awsenv"
	"github.com/pierless/pierless/internal/faultproxy"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
	"github.com/pierless/pierless/pkg/server"
)

// world is a bucket and a table, and a process that meets no faults.
type world struct {
	t       *testing.T
	clients awsenv.Clients
	name    string
	sound   http.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clients, name := storetest.Create(t)
	w := &world{t: t, clients: clients, name: name}
	w.sound = server.All(w.registry(w.clients, time.Now), server.Options{Log: quiet(), ServeBlobs: true})
	return w
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (w *world) registry(clients awsenv.Clients, now func() time.Time) *registry.Registry {
	return registry.New(ddbmeta.New(clients.Dynamo, w.name), s3blobs.New(clients.S3, w.name, s3blobs.Options{Now: now}),
		registry.Options{Log: quiet(), Now: now})
}

// settings are those of a process behind a proxy.
type settings struct {
	serveBlobs bool
	seed       uint64
	// timeout is the limit of the SDK for the head of an answer; 0 is that of the product.
	timeout time.Duration
	// backoff is the longest pause of the SDK; 0 is that of the product.
	backoff time.Duration
	now     func() time.Time
}

// behind returns the clients of a new process, which call AWS through a proxy, and the proxy.
func (w *world) behind(t *testing.T, s settings) (awsenv.Clients, *faultproxy.Proxy) {
	t.Helper()
	clients, err := awsenv.Load(t.Context(), awsenv.Settings{Bucket: w.name, Table: w.name})
	if err != nil {
		t.Fatal(err)
	}
	proxy := faultproxy.New(t, aws.ToString(clients.S3.Options().BaseEndpoint), aws.ToString(clients.Dynamo.Options().BaseEndpoint), s.seed)
	transport := awsclient.HTTPClient().WithTransportOptions(func(t *http.Transport) {
		if s.timeout > 0 {
			t.ResponseHeaderTimeout = s.timeout
		}
	})
	t.Cleanup(func() { transport.GetTransport().CloseIdleConnections() })
	clients.S3 = s3.New(clients.S3.Options(), func(o *s3.Options) {
		o.BaseEndpoint, o.HTTPClient, o.Retryer = aws.String(proxy.URL), transport, s.quick(o.Retryer)
	})
	clients.Dynamo = dynamodb.New(clients.Dynamo.Options(), func(o *dynamodb.Options) {
		o.BaseEndpoint, o.HTTPClient, o.Retryer = aws.String(proxy.URL), transport, s.quick(o.Retryer)
	})
	return clients, proxy
}

// quick returns the product's retryer with the pauses of the settings.
func (s settings) quick(product aws.Retryer) aws.Retryer {
	if v2, is := product.(aws.RetryerV2); is && s.backoff > 0 {
		return quickRetryer{v2, s.backoff}
	}
	return product
}

type quickRetryer struct {
	aws.RetryerV2
	pause time.Duration
}

func (r quickRetryer) RetryDelay(int, error) (time.Duration, error) { return r.pause, nil }

// process starts a registry behind a proxy, and returns a client of it.
func (w *world) process(t *testing.T, repo string, s settings) *client {
	t.Helper()
	if s.now == nil {
		s.now = time.Now
	}
	clients, proxy := w.behind(t, s)
	c := &client{t: t, world: w, repo: repo, proxy: proxy}
	c.fresh = func() string {
		c.reg = w.registry(clients, s.now)
		site := httptest.NewServer(server.All(c.reg, server.Options{Log: c.log(), ServeBlobs: s.serveBlobs}))
		t.Cleanup(site.Close)
		return site.URL
	}
	c.restart()
	return c
}

// later returns a registry without faults whose clock is ahead.
func (w *world) later(ahead time.Duration) *registry.Registry {
	return w.registry(w.clients, func() time.Time { return time.Now().Add(ahead) })
}

// empty sweeps from a time on until every grace is over, and fails if a row or an object is left. It leaves out
// dead rows, which ttl removes, and parts and tails, for which the bucket has lifecycle rules.
func (w *world) empty(t *testing.T, ahead time.Duration) {
	t.Helper()
	for day := range 5 {
		reg := w.later(ahead + time.Duration(day+1)*49*time.Hour)
		for more := true; more; {
			collected, err := reg.Collect(t.Context(), registry.MaxPage)
			expired, expireErr := reg.ExpireUploads(t.Context(), registry.MaxPage)
			if err := errors.Join(err, expireErr); err != nil {
				t.Fatal(err)
			}
			more = collected.More || expired.More || collected.Links > 0
		}
	}
	left := w.contents(t.Context(), t)
	if len(left) > 20 {
		left = append(left[:20], fmt.Sprintf("and %d more", len(left)-20))
	}
	if len(left) > 0 {
		t.Errorf("left after the sweep:\n%s", strings.Join(left, "\n"))
	}
}

func (w *world) contents(ctx context.Context, t *testing.T) (all []string) {
	t.Helper()
	rows := dynamodb.NewScanPaginator(w.clients.Dynamo, &dynamodb.ScanInput{TableName: &w.name, ConsistentRead: aws.Bool(true)})
	for rows.HasMorePages() {
		page, err := rows.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			if item["ttl"] == nil {
				all = append(all, text(item["pk"])+" / "+text(item["sk"]))
			}
		}
	}
	objects := s3.NewListObjectsV2Paginator(w.clients.S3, &s3.ListObjectsV2Input{Bucket: &w.name})
	for objects.HasMorePages() {
		page, err := objects.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range page.Contents {
			if key := aws.ToString(object.Key); !strings.HasPrefix(key, "tails/") {
				all = append(all, key)
			}
		}
	}
	return all
}

func text(v ddb.AttributeValue) string {
	if s, ok := v.(*ddb.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// inParallel calls f for each index with a number of workers. Most of their time is pauses.
func inParallel(n, workers int, f func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
