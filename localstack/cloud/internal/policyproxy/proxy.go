package policyproxy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

// maxParsed is the maximum size of a body that the proxy parses: DynamoDB's limit.
const maxParsed = 16 << 20

// Stats are counts of the calls of one function since the start. Requests of clients with
// URLs that it presigned, and their bytes, are counted separately.
type Stats struct {
	Calls        map[string]int64 `json:"calls"` // by operation
	Presigned    int64            `json:"presigned"`
	Denied       int64            `json:"denied"`
	BytesIn      int64            `json:"bytesIn"`      // request bodies of the function
	BytesOut     int64            `json:"bytesOut"`     // response bodies to the function
	PresignedIn  int64            `json:"presignedIn"`  // request bodies of clients
	PresignedOut int64            `json:"presignedOut"` // response bodies to clients
}

// Proxy is an http.Handler. Use New.
type Proxy struct {
	config   Config
	upstream http.Handler
	log      *slog.Logger

	mu    sync.Mutex
	stats map[string]*Stats
}

// New returns a proxy to an emulator that serves S3 and DynamoDB at one address, unless
// config has another one for DynamoDB.
func New(upstream *url.URL, config Config, log *slog.Logger) *Proxy {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	p := &Proxy{config: config, log: log, stats: map[string]*Stats{}}
	p.upstream = &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(pr *httputil.ProxyRequest) {
			// Path, query and Host are signed and must not change.
			to := upstream
			if config.DynamoDB != nil && pr.In.Header.Get("X-Amz-Target") != "" {
				to = config.DynamoDB
			}
			pr.Out.URL.Scheme, pr.Out.URL.Host = to.Scheme, to.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			pr.Out.Host = pr.In.Host
		},
		ModifyResponse: hideMissing,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				log.Error("no response from the emulator", "error", err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	return p
}

// Stats returns the counts so far, by name of the function.
func (p *Proxy) Stats() map[string]Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]Stats, len(p.stats))
	for name, s := range p.stats {
		snapshot := *s
		snapshot.Calls = make(map[string]int64, len(s.Calls))
		for action, n := range s.Calls {
			snapshot.Calls[action] = n
		}
		out[name] = snapshot
	}
	return out
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.Header.Get("X-Amz-Target")
	presigned := r.URL.Query().Get("X-Amz-Credential") != ""
	key := accessKey(r)
	who, known := p.config.Principals[key]
	if !known {
		p.log.Error("rejected a call without the access key of a function", "key", key, "method", r.Method)
		refuse(w, r, target, "Access Denied")
		return
	}
	calls, err := p.calls(r, target)
	for _, call := range calls {
		if err == nil {
			err = who.Policy.Check(call)
		}
	}
	if err != nil {
		p.count(who.Name, func(s *Stats) { s.Denied++ })
		p.log.Error(refusal(who.Name, err))
		refuse(w, r, target, message(p.config.AccountID, who.Name, err))
		return
	}
	list := target == "" && who.Policy.Check(iam.Call{Action: "s3:ListBucket", Resource: bucketOf(r)}) == nil
	if !list && target == "" {
		r = withHidden(r)
	}
	p.count(who.Name, func(s *Stats) { // before the response, so that its receiver sees the count
		if presigned {
			s.Presigned++
			return
		}
		s.Calls[name(target, calls)]++
	})
	counted := &counter{ReadCloser: r.Body}
	r.Body = counted
	out := &countingWriter{ResponseWriter: w}
	defer p.count(who.Name, func(s *Stats) { // deferred, to count aborted requests too
		if presigned {
			s.PresignedIn += counted.n.Load()
			s.PresignedOut += out.n
			return
		}
		s.BytesIn += counted.n.Load()
		s.BytesOut += out.n
	})
	p.upstream.ServeHTTP(out, r)
}

// calls returns the IAM calls of a request. It reads the body if it must, and restores it.
func (p *Proxy) calls(r *http.Request, target string) ([]iam.Call, error) {
	var body []byte
	if target != "" || r.Method == http.MethodPost && r.URL.Query().Has("delete") {
		read, err := io.ReadAll(io.LimitReader(r.Body, maxParsed+1))
		if err != nil || len(read) > maxParsed {
			return nil, unknownCall("its body cannot be read or is too large")
		}
		body = read
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
	}
	if target != "" {
		return p.config.dynamoCalls(target, body)
	}
	return s3Calls(r, body)
}

func name(target string, calls []iam.Call) string {
	if _, operation, ok := strings.Cut(target, "."); ok {
		return "dynamodb:" + operation
	}
	return calls[0].Action
}

func bucketOf(r *http.Request) string {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucketARN(bucket)
}

func (p *Proxy) count(name string, change func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats[name]
	if s == nil {
		s = &Stats{Calls: map[string]int64{}}
		p.stats[name] = s
	}
	change(s)
}

var credential = regexp.MustCompile(`Credential=([^/,\s]+)/`)

// accessKey returns the access key of the signature, in a header or in a presigned URL.
func accessKey(r *http.Request) string {
	if match := credential.FindStringSubmatch(r.Header.Get("Authorization")); match != nil {
		return match[1]
	}
	key, _, _ := strings.Cut(r.URL.Query().Get("X-Amz-Credential"), "/")
	return key
}

// refusal returns the log message of a rejected call.
func refusal(function string, err error) string {
	if errors.Is(err, errUnknownCall) {
		return "rejected a call of " + function + ": " + err.Error()
	}
	return "policy of " + function + " does not allow " + err.Error()
}

// message returns the text of AWS's error.
func message(account, function string, err error) string {
	var denied *iam.DeniedError
	if !errors.As(err, &denied) {
		return "Access Denied: " + err.Error()
	}
	why := "no identity-based policy allows the " + denied.Call.Action + " action"
	if denied.Explicit {
		why = "of an explicit deny in an identity-based policy"
	}
	return fmt.Sprintf("User: arn:aws:sts::%s:assumed-role/%s/%s is not authorized to perform: %s on resource: %s because %s",
		account, function, function, denied.Call.Action, denied.Call.Resource, why)
}

// refuse sends the error response of S3, or of DynamoDB if there is a target.
func refuse(w http.ResponseWriter, r *http.Request, target, text string) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxParsed)) // some clients read the response only after they have sent everything
	if target != "" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": text})
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write(accessDenied(text)) // dropped for HEAD
}

func accessDenied(text string) []byte {
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(text)) // writing to a buffer does not fail
	return []byte(xml.Header + "<Error><Code>AccessDenied</Code><Message>" + escaped.String() + "</Message></Error>")
}
