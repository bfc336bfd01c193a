package prooftest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Principal is a caller of AWS with its credentials.
type Principal struct {
	AccessKey, Secret, SessionToken string
	Account, ARN, UserID            string
}

// STS is AWS STS as far as presigned requests of GetCallerIdentity go. It recomputes their
// signatures (AWS Signature Version 4) from the request that arrives.
type STS struct {
	Requests atomic.Int64

	mu         sync.Mutex
	principals map[string]Principal
	answer     http.HandlerFunc // replaces all answers
}

// NewSTS serves the global endpoint and that of eu-west-1.
func NewSTS(_ *testing.T, n *Internet, principals ...Principal) *STS {
	s := &STS{principals: map[string]Principal{}}
	for _, p := range principals {
		s.principals[p.AccessKey] = p
	}
	n.Handle("sts.amazonaws.com", s)
	n.Handle("sts.eu-west-1.amazonaws.com", s)
	return s
}

// Answer replaces all answers; nil restores them.
func (s *STS) Answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// ServeHTTP implements http.Handler.
func (s *STS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Requests.Add(1)
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	p, code := s.authenticate(r)
	if code != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		// STS quotes the canonical request in its message.
		fmt.Fprintf(w, `{"Error":{"Code":%q,"Message":%q,"Type":"Sender"},"RequestId":"1"}`, code, r.URL.String())
		return
	}
	if r.URL.Query().Get("Action") != "GetCallerIdentity" || r.URL.Query().Get("Version") != "2011-06-15" {
		http.Error(w, `{"Error":{"Code":"InvalidAction"}}`, http.StatusBadRequest)
		return
	}
	writeJSON(w, Claims{"GetCallerIdentityResponse": Claims{
		"GetCallerIdentityResult": Claims{"Account": p.Account, "Arn": p.ARN, "UserId": p.UserID},
		"ResponseMetadata":        Claims{"RequestId": "1"},
	}})
}

// authenticate returns the caller, or the code of the refusal.
func (s *STS) authenticate(r *http.Request) (p Principal, code string) {
	q := r.URL.Query()
	scope := strings.Split(q.Get("X-Amz-Credential"), "/")
	if q.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || len(scope) != 5 || scope[3] != "sts" || scope[4] != "aws4_request" {
		return p, "IncompleteSignature"
	}
	if host := r.Host; host != "sts.amazonaws.com" && host != "sts."+scope[2]+".amazonaws.com" {
		return p, "SignatureDoesNotMatch"
	}
	s.mu.Lock()
	p, known := s.principals[scope[0]]
	s.mu.Unlock()
	if !known || q.Get("X-Amz-Security-Token") != p.SessionToken {
		return p, "InvalidClientTokenId"
	}
	date, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	seconds, err2 := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err != nil || err2 != nil || seconds < 1 || seconds > 604800 || date.Format("20060102") != scope[1] {
		return p, "SignatureDoesNotMatch"
	}
	if now := time.Now(); now.After(date.Add(time.Duration(seconds)*time.Second)) || date.After(now.Add(5*time.Minute)) {
		return p, "ExpiredToken"
	}
	if !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(signatureOf(r, p.Secret, scope))) {
		return p, "SignatureDoesNotMatch"
	}
	return p, ""
}

// signatureOf computes the signature of a presigned request without a body.
func signatureOf(r *http.Request, secret string, scope []string) string {
	q := r.URL.Query()
	var pairs []string
	for name, values := range q {
		for _, value := range values {
			if name != "X-Amz-Signature" {
				pairs = append(pairs, awsEscape(name)+"="+awsEscape(value))
			}
		}
	}
	slices.Sort(pairs)
	names := strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
	var headers strings.Builder
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), strings.Join(pairs, "&"), headers.String(), strings.Join(names, ";"), hexSum(""),
	}, "\n")
	text := strings.Join([]string{"AWS4-HMAC-SHA256", q.Get("X-Amz-Date"), strings.Join(scope[1:], "/"), hexSum(canonical)}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range scope[1:] {
		key = hmacOf(key, part)
	}
	return hex.EncodeToString(hmacOf(key, text))
}

func hexSum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func hmacOf(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// awsEscape escapes all but unreserved characters.
func awsEscape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// Presigned is a request for a Principal to sign. The zero values are those of a good one.
type Presigned struct {
	Method, Host string
	Registry     string            // in X-Pierless-Host
	Headers      map[string]string // more signed headers
	Query        url.Values        // more parameters, or others
	Date         time.Time
	Expires      string
}

// URL signs the request, without the SDK: wrong requests too.
func (p Principal) URL(request Presigned) string {
	region := "us-east-1"
	host := request.Host
	if host == "" {
		host = "sts.amazonaws.com"
	}
	if parts := strings.Split(host, "."); len(parts) > 3 {
		region = parts[1]
	}
	date := request.Date
	if date.IsZero() {
		date = time.Now()
	}
	date = date.UTC()
	r := &http.Request{Method: request.Method, Host: host, URL: &url.URL{Scheme: "https", Host: host, Path: "/"}, Header: http.Header{}}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	names := []string{"host"}
	if request.Registry != "" {
		r.Header.Set("X-Pierless-Host", request.Registry)
		names = append(names, "x-pierless-host")
	}
	for name, value := range request.Headers {
		r.Header.Set(name, value)
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	scope := []string{p.AccessKey, date.Format("20060102"), region, "sts", "aws4_request"}
	q := url.Values{
		"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Algorithm": {"AWS4-HMAC-SHA256"},
		"X-Amz-Credential": {strings.Join(scope, "/")}, "X-Amz-Date": {date.Format("20060102T150405Z")},
		"X-Amz-Expires": {"60"}, "X-Amz-SignedHeaders": {strings.Join(names, ";")},
	}
	if request.Expires != "" {
		q.Set("X-Amz-Expires", request.Expires)
	}
	if p.SessionToken != "" {
		q.Set("X-Amz-Security-Token", p.SessionToken)
	}
	for name, values := range request.Query {
		q[name] = values
	}
	r.URL.RawQuery = q.Encode()
	q.Set("X-Amz-Signature", signatureOf(r, p.Secret, scope))
	r.URL.RawQuery = q.Encode()
	return r.URL.String()
}

// SDKURL has the SDK sign a good request for a registry.
func (p Principal) SDKURL(t *testing.T, region, registry string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		"https://sts."+region+".amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Pierless-Host", registry)
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: p.AccessKey, SecretAccessKey: p.Secret, SessionToken: p.SessionToken,
	}, r, hexSum(""), "sts", region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
