package proof_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/prooftest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
)

const account = "123456789012"

func role() prooftest.Principal {
	return prooftest.Principal{
		AccessKey: "ASIAEXAMPLEEXAMPLE12", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SessionToken: "IQoJb3JpZ2luX2VjE+/=token",
		Account: account, ARN: "arn:aws:sts::" + account + ":assumed-role/ci/build-42", UserID: "AROAEXAMPLE:build-42",
	}
}

func user() prooftest.Principal {
	return prooftest.Principal{
		AccessKey: "AKIAEXAMPLEEXAMPLE12", Secret: "another/secret", Account: account,
		ARN: "arn:aws:iam::" + account + ":user/team/ann", UserID: "AIDAEXAMPLE",
	}
}

// amazon is a site with an STS.
type amazon struct {
	*site
	sts *prooftest.STS
}

func newAmazon(t *testing.T, more ...prooftest.Principal) *amazon {
	t.Helper()
	a := &amazon{site: newSite(t, access.IssuerSTS)}
	a.sts = prooftest.NewSTS(t, a.net, append(more, role(), user())...)
	return a
}

func (a *amazon) prove(presigned string) (access.Identity, error) {
	return a.verifier.Prove(a.t.Context(), host, access.Proof{STS: presigned})
}

func (a *amazon) refused(presigned string, want oci.Code) {
	a.t.Helper()
	id, err := a.prove(presigned)
	checkRefusal(a.t, id, err, want, presigned)
}

func TestPresignedRequests(t *testing.T) {
	a := newAmazon(t)
	ofRole := map[string]string{
		"account": account, "role": "ci", "session": "build-42", "arn": "arn:aws:iam::" + account + ":role/ci",
	}
	ofUser := map[string]string{"account": account, "user": "ann", "arn": "arn:aws:iam::" + account + ":user/team/ann"}
	for name, c := range map[string]struct {
		presigned string
		want      map[string]string
	}{
		"the SDK's, a role": {role().SDKURL(t, "eu-west-1", host), ofRole},
		"the SDK's, a user": {user().SDKURL(t, "eu-west-1", host), ofUser},
		"global":            {role().URL(prooftest.Presigned{Registry: host}), ofRole},
		"regional":          {user().URL(prooftest.Presigned{Registry: host, Host: "sts.eu-west-1.amazonaws.com"}), ofUser},
		"short":             {role().URL(prooftest.Presigned{Registry: host, Expires: "5"}), ofRole},
		"another order":     {reversed(t, role().URL(prooftest.Presigned{Registry: host})), ofRole},
	} {
		id, err := a.prove(c.presigned)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if id.Issuer != access.IssuerSTS || id.Subject != c.want["arn"] || len(id.Proof) != 64 || id.Once.Before(time.Now().Add(time.Minute/2)) {
			t.Errorf("%s: %+v", name, id)
		}
		for claim, want := range c.want {
			if id.Claims[claim] != want || len(id.Claims) != len(c.want) {
				t.Errorf("%s: the claims are %v, want %v", name, id.Claims, c.want)
			}
		}
	}
}

// reversed writes the parameters of a URL in another order and form.
func reversed(t *testing.T, presigned string) string {
	t.Helper()
	head, query, _ := strings.Cut(presigned, "?")
	pairs := strings.Split(query, "&")
	for i, j := 0, len(pairs)-1; i < j; i, j = i+1, j-1 {
		pairs[i], pairs[j] = pairs[j], pairs[i]
	}
	return head + "?" + strings.ReplaceAll(strings.Join(pairs, "&"), "-", "%2D")
}

// TestPresignedHash: the spelling of a request does not make it another proof.
func TestPresignedHash(t *testing.T) {
	a := newAmazon(t)
	presigned := role().URL(prooftest.Presigned{Registry: host})
	one, err := a.prove(presigned)
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.prove(reversed(t, presigned))
	if err != nil || one.Proof != two.Proof {
		t.Errorf("the hashes are %s and %s: %v", one.Proof, two.Proof, err)
	}
	if other, err := a.prove(user().URL(prooftest.Presigned{Registry: host})); err != nil || other.Proof == one.Proof {
		t.Errorf("another request has the hash %s: %v", other.Proof, err)
	}
}

// TestRequestsThatSTSRefuses: the signature decides, which covers the registry's host.
func TestRequestsThatSTSRefuses(t *testing.T) {
	a := newAmazon(t)
	good := role().URL(prooftest.Presigned{Registry: host})
	if _, err := a.prove(good); err != nil {
		t.Fatal(err)
	}
	stranger := role()
	stranger.Secret = "guessed"
	unknown := role()
	unknown.AccessKey = "ASIAUNKNOWNUNKNOWN12"
	for name, presigned := range map[string]string{
		"for another registry":      role().URL(prooftest.Presigned{Registry: "evil.example"}),
		"for another port":          role().URL(prooftest.Presigned{Registry: "registry.example"}),
		"a wrong secret":            stranger.URL(prooftest.Presigned{Registry: host}),
		"an unknown key":            unknown.URL(prooftest.Presigned{Registry: host}),
		"POST":                      role().URL(prooftest.Presigned{Registry: host, Method: http.MethodPost}),
		"a changed expiry":          strings.Replace(good, "X-Amz-Expires=60", "X-Amz-Expires=59", 1),
		"a changed endpoint":        strings.Replace(good, "sts.amazonaws.com", "sts.eu-west-1.amazonaws.com", 1),
		"the SDK's, other registry": role().SDKURL(t, "eu-west-1", "evil.example"),
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			before := a.sts.Requests.Load()
			a.refused(presigned, oci.Denied)
			if a.sts.Requests.Load() != before+1 {
				t.Error("STS was not asked")
			}
		})
	}
}

// TestRequestsThatAreNotSent: STS is asked nothing but GetCallerIdentity, once and now.
func TestRequestsThatAreNotSent(t *testing.T) {
	a := newAmazon(t)
	sign := func(p prooftest.Presigned) string {
		p.Registry = host
		return role().URL(p)
	}
	good := sign(prooftest.Presigned{})
	change := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("%s has no %s", good, from)
		}
		return strings.Replace(good, from, to, 1)
	}
	parsed, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	signature := parsed.Query().Get("X-Amz-Signature")
	later := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for name, presigned := range map[string]string{
		"another action":            sign(prooftest.Presigned{Query: url.Values{"Action": {"GetSessionToken"}}}),
		"another version":           sign(prooftest.Presigned{Query: url.Values{"Version": {"2011-06-16"}}}),
		"an extra parameter":        sign(prooftest.Presigned{Query: url.Values{"RoleArn": {"x"}}}),
		"an unsigned parameter":     good + "&DurationSeconds=900",
		"an action twice":           good + "&Action=GetCallerIdentity",
		"another action beside":     good + "&action=AssumeRole",
		"a parameter without value": good + "&X-Amz-Security-Token",
		"an empty parameter":        sign(prooftest.Presigned{Query: url.Values{"X-Amz-Content-Sha256": {""}}}),
		"extra signed headers":      sign(prooftest.Presigned{Headers: map[string]string{"X-Other": "1"}}),
		"without our header":        role().URL(prooftest.Presigned{}),
		"other algorithm":           sign(prooftest.Presigned{Query: url.Values{"X-Amz-Algorithm": {"AWS4-HMAC-SHA1"}}}),
		"61 seconds":                sign(prooftest.Presigned{Expires: "61"}),
		"a week":                    sign(prooftest.Presigned{Expires: "604800"}),
		"0 seconds":                 sign(prooftest.Presigned{Expires: "0"}),
		"-1 seconds":                sign(prooftest.Presigned{Expires: "-1"}),
		"no number":                 sign(prooftest.Presigned{Expires: "1m"}),
		"expired":                   sign(prooftest.Presigned{Date: later(-121 * time.Second)}),
		"from the future":           sign(prooftest.Presigned{Date: later(90 * time.Second)}),
		"a malformed date":          sign(prooftest.Presigned{Query: url.Values{"X-Amz-Date": {"2026-11-22T00:00:00Z"}}}),
		"another service":           change("%2Fsts%2F", "%2Fs3%2F"),
		"a malformed signature":     change(signature, signature+"0"),
		"an upper-case signature":   change(signature, strings.ToUpper(signature)),
		"an empty security token":   user().URL(prooftest.Presigned{Registry: host}) + "&X-Amz-Security-Token=",
		"no action":                 change("Action=GetCallerIdentity&", ""),
		"no version":                change("Version=2011-06-15&", ""),
		"no algorithm":              change("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""),
		"no signed headers":         change("&X-Amz-SignedHeaders=host%3Bx-pierless-host", ""),
		"no expiry":                 change("&X-Amz-Expires=60", ""),
		"no signature":              good[:strings.Index(good, "&X-Amz-Signature")],
		"http":                      change("https:", "http:"),
		"another host":              change("sts.amazonaws.com", "sts.amazonaws.com.evil.example"),
		"another host before":       change("sts.amazonaws.com", "evil.example/sts.amazonaws.com"),
		"a user":                    change("sts.amazonaws.com", "sts.amazonaws.com@evil.example"),
		"a password":                change("sts.amazonaws.com", "a:b@sts.amazonaws.com"),
		"a port":                    change("sts.amazonaws.com", "sts.amazonaws.com:8443"),
		"another service's host":    change("sts.amazonaws.com", "s3.eu-west-1.amazonaws.com"),
		"a bucket":                  change("sts.amazonaws.com", "sts.s3.amazonaws.com"),
		"upper case":                change("sts.amazonaws.com", "STS.amazonaws.com"),
		"a path":                    change("amazonaws.com/", "amazonaws.com/x"),
		"an escaped path":           change("amazonaws.com/", "amazonaws.com/%2e"),
		"a fragment":                good + "#x",
		"no query":                  "https://sts.amazonaws.com/",
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			a.refused(presigned, oci.Denied)
		})
	}
	for name, presigned := range map[string]string{
		"no URL": "sts", "a control character": "https://sts.amazonaws.com/\n", "a semicolon": good + ";x=y", "a bad escape": good + "%zz",
		"too long": good + "&x=" + strings.Repeat("x", 20<<10),
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			id, err := a.prove(presigned)
			if !errors.Is(err, &oci.Error{Code: oci.AccessInvalid}) && !errors.Is(err, &oci.Error{Code: oci.Denied}) {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
	if n := a.net.Requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestSentRequest: STS gets the request in a form of its own, not in that of the client.
func TestSentRequest(t *testing.T) {
	a := newAmazon(t)
	var sent *http.Request
	a.sts.Answer(func(w http.ResponseWriter, r *http.Request) {
		sent = r
		answers()["500"](w, r)
	})
	presigned := reversed(t, role().URL(prooftest.Presigned{Registry: host}))
	a.refused(strings.Replace(presigned, ".com/?", ".com?", 1), oci.Unavailable)
	if sent == nil || sent.Method != http.MethodGet || sent.URL.Path != "/" || sent.URL.RawQuery != sent.URL.Query().Encode() ||
		sent.Header.Get("X-Pierless-Host") != host || sent.ContentLength > 0 {
		t.Errorf("sent: %+v", sent)
	}
}

// TestExpiredAtSTS: a request that expired a moment ago is for STS to refuse, whose clock counts.
func TestExpiredAtSTS(t *testing.T) {
	a := newAmazon(t)
	a.refused(role().URL(prooftest.Presigned{Registry: host, Date: time.Now().Add(-90 * time.Second)}), oci.Denied)
	if n := a.sts.Requests.Load(); n != 1 {
		t.Errorf("%d requests to STS", n)
	}
	a.ahead.Store(int64(-50 * time.Second)) // this machine's clock is slow
	if _, err := a.prove(role().URL(prooftest.Presigned{Registry: host})); err != nil {
		t.Errorf("with a slow clock: %v", err)
	}
}

// TestNoRuleForSTS: without a rule STS is not asked.
func TestNoRuleForSTS(t *testing.T) {
	s := newSite(t)
	sts := prooftest.NewSTS(t, s.net, role())
	presigned := role().URL(prooftest.Presigned{Registry: host})
	id, err := s.verifier.Prove(context.WithoutCancel(t.Context()), host, access.Proof{STS: presigned})
	checkRefusal(t, id, err, oci.Denied, presigned)
	if n := sts.Requests.Load(); n != 0 {
		t.Errorf("%d requests to STS", n)
	}
}

func TestFailingSTS(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   oci.Code
	}{
		"500":      {answers()["500"], oci.Unavailable},
		"empty":    {answers()["empty"], oci.Unavailable},
		"HTML":     {answers()["HTML"], oci.Unavailable},
		"huge":     {answers()["huge"], oci.Unavailable},
		"cut off":  {answers()["cut off"], oci.Unavailable},
		"redirect": {answers()["redirect for ever"], oci.Unavailable},
		"hangs":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, oci.Unavailable},
		"throttled": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"Error":{"Code":"Throttling"}}`))
		}, oci.Unavailable},
		"another answer": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }, oci.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAmazon(t)
			a.sts.Answer(c.answer)
			a.refused(role().URL(prooftest.Presigned{Registry: host}), c.want)
			if n := a.sts.Requests.Load(); n != 1 {
				t.Errorf("%d requests to STS", n)
			}
		})
	}
}

func TestPrincipals(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:iam::" + account + ":root":                         "arn:aws:iam::" + account + ":root",
		"arn:aws:sts::" + account + ":federated-user/ann":           "arn:aws:sts::" + account + ":federated-user/ann",
		"arn:aws-us-gov:sts::" + account + ":assumed-role/ci/s@x.y": "arn:aws-us-gov:iam::" + account + ":role/ci",
		"arn:aws-cn:sts::" + account + ":assumed-role/ci/s":         "arn:aws-cn:iam::" + account + ":role/ci",
		"arn:aws:sts::999999999999:assumed-role/ci/s":               "",
		"arn:aws:sts::" + account + ":":                             "",
		"arn:aws:s3::" + account + ":x":                             "",
		"arn:aws:iam::" + account + ":role/ci\n":                    "",
		"":                                                          "",
	} {
		p := role()
		p.ARN = arn
		a := newAmazon(t)
		a.sts = prooftest.NewSTS(t, a.net, p)
		id, err := a.prove(p.URL(prooftest.Presigned{Registry: host}))
		if id.Subject != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", arn, id.Subject, err, want)
		}
	}
}
