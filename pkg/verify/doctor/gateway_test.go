package doctor_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

const (
	password = "right"
	// What fits through the gateway and through a function, in bytes.
	gatewayLimit = 10_000_000
	lambdaLimit  = 6_291_456 / 4 * 3
)

// cloud is a deployment as it should be: Pierless behind a gateway with the limits
// of API Gateway and Lambda, and a store that it sends pulls to.
type cloud struct {
	t        *testing.T
	reg      *registry.Registry
	meta     registry.Metadata
	registry http.Handler
	store    *httptest.Server
	clock    storetest.Clock
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	names, blobs := storetest.OpenDirect(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	c := &cloud{t: t, meta: names}
	c.reg = registry.New(names, blobs, registry.Options{Log: log, Now: c.clock.Now})
	c.registry = server.All(c.reg, server.Options{Log: log})
	c.store = httptest.NewServer(http.HandlerFunc(c.serveStore))
	t.Cleanup(c.store.Close)
	return c
}

// serveStore serves /<name>/blobs/<digest> as S3 serves a presigned URL.
func (c *cloud) serveStore(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, name := range strings.Split(q.Get("X-Amz-SignedHeaders"), ";") {
		if name != "" && name != "host" && r.Header.Get(name) == "" {
			storeFault(w, http.StatusForbidden, "SignatureDoesNotMatch")
			return
		}
	}
	switch {
	case r.Header.Get("Authorization") != "":
		storeFault(w, http.StatusBadRequest, "InvalidArgument")
	case q.Get("for") != r.Method:
		storeFault(w, http.StatusForbidden, "SignatureDoesNotMatch")
	default:
		r.URL.Path, r.URL.RawQuery = "/v2"+r.URL.Path, ""
		c.registry.ServeHTTP(w, r)
	}
}

func storeFault(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code></Error>", code)
}

// presigned is a URL of the store for a path of the registry.
func (c *cloud) presigned(method, path string) string {
	return c.store.URL + strings.TrimPrefix(path, "/v2") + "?X-Amz-Credential=AKIA/20261121/eu-central-1/s3/aws4_request&X-Amz-Date=" +
		time.Now().UTC().Format("20060102T150405Z") + "&X-Amz-Expires=1200&X-Amz-SignedHeaders=host&X-Amz-Signature=00&for=" + method
}

// door is the registry behind its gateway. anonymousPull opens it for reading.
func (c *cloud) door(anonymousPull bool) http.Handler {
	sum := sha256.Sum256([]byte(password))
	guard, err := auth.New(hex.EncodeToString(sum[:]), access.NewDirectory(c.meta, access.Options{AnonymousPull: anonymousPull}))
	if err != nil {
		c.t.Fatal(err)
	}
	guarded := server.All(c.reg, server.Options{Log: slog.New(slog.DiscardHandler), Authorize: guard.Authorize})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Apigw-Requestid", "id")
		if r.ContentLength > lambdaLimit {
			_, _ = io.Copy(io.Discard, r.Body)
			gatewayFault(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
			return
		}
		got := record(guarded, r)
		if r.Method == http.MethodGet && got.status == http.StatusOK && toBlob.MatchString(r.URL.Path) {
			got.status, got.body = http.StatusTemporaryRedirect, nil
			got.header.Set("Location", c.presigned(r.Method, r.URL.Path))
			got.header.Set("Content-Length", "0")
		}
		got.send(w)
	})
}

func gatewayFault(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"message":%q}`, message)
}

// Requests by what they are about.
var (
	all        = regexp.MustCompile(``)
	toBlob     = regexp.MustCompile(`/blobs/sha`)
	toUploads  = regexp.MustCompile(`/blobs/uploads/$`)
	toSession  = regexp.MustCompile(`/(blobs/uploads|_pierless/(uploads|parts|verifications))/[^/]`)
	toOffer    = regexp.MustCompile(`/_pierless/uploads$`)
	toDirect   = regexp.MustCompile(`/_pierless/uploads/`)
	toParts    = regexp.MustCompile(`/_pierless/parts/`)
	toVerify   = regexp.MustCompile(`/_pierless/verifications/`)
	toManifest = regexp.MustCompile(`/manifests/`)
	toTags     = regexp.MustCompile(`/tags/list`)
)

// reply is an answer that a wrapper may change before it is sent.
type reply struct {
	request *http.Request
	status  int
	header  http.Header
	body    []byte
}

func record(h http.Handler, r *http.Request) *reply {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return &reply{r, rec.Code, rec.Header(), rec.Body.Bytes()}
}

func (r *reply) send(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header()[k] = v
	}
	w.WriteHeader(r.status)
	if r.request.Method != http.MethodHead {
		_, _ = w.Write(r.body)
	}
}

func (r *reply) setBody(b []byte) {
	r.body = b
	r.header.Set("Content-Length", strconv.Itoa(len(b)))
}

// becomes is the gateway's own answer.
func (r *reply) becomes(status int, message string) {
	r.status, r.header = status, http.Header{"Content-Type": {"application/json"}}
	r.setBody(fmt.Appendf(nil, `{"message":%q}`, message))
}

type wrap func(*cloud, http.Handler) http.Handler

// answers changes the answers to some requests.
func answers(methods string, path *regexp.Regexp, change func(*cloud, *reply)) wrap {
	return func(c *cloud, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !slices.Contains(strings.Split(methods, "|"), r.Method) || !path.MatchString(r.URL.EscapedPath()) {
				next.ServeHTTP(w, r)
				return
			}
			got := record(next, r)
			change(c, got)
			got.send(w)
		})
	}
}

const anyMethod = "GET|HEAD|POST|PUT|PATCH|DELETE"

// requests changes some requests before the gateway sees them.
func requests(methods string, path *regexp.Regexp, change func(*http.Request)) wrap {
	return func(_ *cloud, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if slices.Contains(strings.Split(methods, "|"), r.Method) && path.MatchString(r.URL.EscapedPath()) {
				change(r)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// changeBody changes the body of a request.
func changeBody(change func([]byte) []byte) func(*http.Request) {
	return func(r *http.Request) {
		b, _ := io.ReadAll(r.Body) // the test's own request
		b = change(b)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
}
