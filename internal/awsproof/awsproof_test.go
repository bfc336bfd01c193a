package awsproof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

const secret = "c2VjcmV0/key+1"

func config(region, session string) aws.Config {
	return aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", secret, session)}
}

// signature computes SigV4 of a presigned GET from its definition.
func signature(u *url.URL, headers map[string]string) string {
	q := u.Query()
	q.Del("X-Amz-Signature")
	var names, canonical []string
	for name, value := range headers {
		names = append(names, name)
		canonical = append(canonical, name+":"+value+"\n")
	}
	slices.Sort(names)
	slices.Sort(canonical)
	empty := sha256.Sum256(nil)
	request := strings.Join([]string{
		"GET", "/", strings.ReplaceAll(q.Encode(), "+", "%20"), strings.Join(canonical, ""), strings.Join(names, ";"), hex.EncodeToString(empty[:]),
	}, "\n")
	sum := sha256.Sum256([]byte(request))
	_, scope, _ := strings.Cut(q.Get("X-Amz-Credential"), "/")
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+q.Get("X-Amz-Date")+"\n"+scope+"\n"+hex.EncodeToString(sum[:])) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func TestPresignCallerIdentity(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, c := range []struct{ region, session, endpoint, scope string }{
		{"eu-central-1", "", "sts.eu-central-1.amazonaws.com", "eu-central-1"},
		{"us-west-2", "to/ken+==", "sts.us-west-2.amazonaws.com", "us-west-2"},
		{"", "", "sts.us-east-1.amazonaws.com", "us-east-1"},
		{"cn-north-1", "", "sts.cn-north-1.amazonaws.com.cn", "cn-north-1"},
	} {
		signed, err := PresignCallerIdentity(t.Context(), config(c.region, c.session), "registry.example:8443", now)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(signed)
		if err != nil || u.Scheme != "https" || u.Host != c.endpoint || u.Path != "/" {
			t.Errorf("%s, %v; want host %s", signed, err, c.endpoint)
			continue
		}
		q := u.Query()
		want := map[string]string{
			"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-SignedHeaders": "host;x-pierless-host", "X-Amz-Credential": "AKIDEXAMPLE/20260304/" + c.scope + "/sts/aws4_request",
			"X-Amz-Signature": signature(u, map[string]string{"host": c.endpoint, "x-pierless-host": "registry.example:8443"}),
		}
		if c.session != "" {
			want["X-Amz-Security-Token"] = c.session
		}
		for name, value := range want {
			if got := q[name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		}
		if len(q) != len(want)+2 { // X-Amz-Date and X-Amz-Expires
			t.Errorf("the query has other parameters: %v", q)
		}
	}
}

// TestPresignedTimes: two requests of one second differ, or the registry would refuse the second
// one. STS accepts each of them for 30 seconds or more.
func TestPresignedTimes(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	signatures := map[string]bool{}
	for range 200 {
		signed, err := PresignCallerIdentity(t.Context(), config("eu-central-1", ""), "registry.example", now)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		date, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
		seconds, atoiErr := strconv.Atoi(u.Query().Get("X-Amz-Expires"))
		left := date.Add(time.Duration(seconds) * time.Second).Sub(now)
		if err != nil || atoiErr != nil || date.After(now) || seconds > 60 || left < 30*time.Second {
			t.Errorf("signed at %v for %d s, %v, %v", date, seconds, err, atoiErr)
		}
		signatures[u.Query().Get("X-Amz-Signature")] = true
	}
	if len(signatures) < 100 {
		t.Errorf("%d of 200 requests are different", len(signatures))
	}
}

// fakeSTS is a strict server of one operation in the query protocol.
func fakeSTS(t *testing.T, status int, body string) (aws.Config, *int) {
	t.Helper()
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		want := url.Values{
			"Action": {"GetWebIdentityToken"}, "Version": {"2011-06-15"}, "Audience.member.1": {"https://registry.example"},
			"SigningAlgorithm": {"ES384"}, "DurationSeconds": {"300"},
		}
		err := r.ParseForm()
		if err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Form.Encode() != want.Encode() ||
			!strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDEXAMPLE/") || !strings.Contains(r.Header.Get("Authorization"), "/sts/aws4_request") {
			t.Errorf("%s %s, %v, %v: %v", r.Method, r.URL, err, r.Form, r.Header)
		}
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(srv.Close)
	cfg := config("eu-central-1", "")
	cfg.BaseEndpoint = aws.String(srv.URL)
	return cfg, &calls
}

func TestWebIdentityToken(t *testing.T) {
	cfg, calls := fakeSTS(t, http.StatusOK, `<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>`+
		`<WebIdentityToken>a.b.c</WebIdentityToken><Expiration>2026-03-04T05:06:07Z</Expiration></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>`)
	if token, err := WebIdentityToken(t.Context(), cfg, "https://registry.example"); token != "a.b.c" || err != nil || *calls != 1 {
		t.Errorf("%q, %v after %d calls", token, err, *calls)
	}
	cfg, calls = fakeSTS(t, http.StatusForbidden, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>`+
		`<Code>OutboundWebIdentityFederationDisabledException</Code><Message>not enabled</Message></Error><RequestId>1</RequestId></ErrorResponse>`)
	_, err := WebIdentityToken(t.Context(), cfg, "https://registry.example")
	if err == nil || err.Error() != "sts:GetWebIdentityToken: OutboundWebIdentityFederationDisabledException: not enabled" || *calls != 1 {
		t.Errorf("%v after %d calls", err, *calls)
	}
}
