package proof

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/access"
)

// hostHeader is the header by which a presigned request names the registry that it is for.
const hostHeader = "X-Pierless-Host"

// maxExpires is the longest life of a presigned request.
const maxExpires = time.Minute

// Grammar of a presigned request.
var (
	stsHost       = regexp.MustCompile(`^sts(\.[a-z]{2,4}(-[a-z]+)+-[0-9]+)?\.amazonaws\.com(\.cn)?$`)
	stsCredential = regexp.MustCompile(`^[A-Z0-9]{16,128}/[0-9]{8}/[a-z0-9-]+/sts/aws4_request$`)
	stsSignature  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// stsQuery has the parameters of a presigned request: their only value, or "" for any.
func stsQuery() map[string]string {
	return map[string]string{
		"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
		"X-Amz-SignedHeaders": "host;" + strings.ToLower(hostHeader),
		"X-Amz-Credential":    "", "X-Amz-Date": "", "X-Amz-Expires": "", "X-Amz-Signature": "", "X-Amz-Security-Token": "",
	}
}

// proveSTS sends the presigned request to STS, with this registry's host in the header that is part
// of the signature: STS refuses a request that was signed for another registry.
func (v *Verifier) proveSTS(ctx context.Context, host, presigned string) (access.Identity, error) {
	if err := v.checkIssuer(ctx, access.IssuerSTS); err != nil {
		return access.Identity{}, err
	}
	u, query, err := parsePresigned(presigned)
	if err != nil {
		return access.Identity{}, err
	}
	until, err := checkTimes(query, v.opts.Now())
	if err != nil {
		return access.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// Not the URL as it was sent: STS and this function must read the same parameters.
	u = &url.URL{Scheme: "https", Host: u.Host, Path: "/", RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return access.Identity{}, invalid(nil, "sts is not a URL")
	}
	r.Header.Set(hostHeader, host)
	r.Header.Set("Accept", "application/json")
	who, err := v.callerIdentity(r)
	if err != nil {
		return access.Identity{}, err
	}
	id, err := who.identity()
	if err != nil {
		return access.Identity{}, err
	}
	id.Proof, id.Once = hash(query.Get("X-Amz-Signature")), until
	return id, nil
}

// parsePresigned refuses every URL but that of a presigned GetCallerIdentity of STS.
func parsePresigned(presigned string) (*url.URL, url.Values, error) {
	u, err := url.Parse(presigned)
	if err != nil {
		return nil, nil, invalid(nil, "sts is not a URL")
	}
	if u.Scheme != "https" || u.Opaque != "" || u.User != nil || !stsHost.MatchString(u.Host) || u.Fragment != "" ||
		u.EscapedPath() != "/" && u.Path != "" {
		return nil, nil, refused(nil, "sts must be a presigned URL of https://sts.REGION.amazonaws.com/")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, invalid(nil, "the query of sts is malformed")
	}
	allowed := stsQuery()
	for name, values := range query {
		want, known := allowed[name]
		if !known || len(values) != 1 || values[0] == "" || want != "" && values[0] != want {
			return nil, nil, refused(nil, "sts must be a presigned GetCallerIdentity with the signed headers %s: the parameter %.40q is wrong",
				allowed["X-Amz-SignedHeaders"], name)
		}
		delete(allowed, name)
	}
	delete(allowed, "X-Amz-Security-Token")
	if len(allowed) > 0 {
		return nil, nil, refused(nil, "sts lacks the parameters %s", strings.Join(slices.Sorted(maps.Keys(allowed)), ", "))
	}
	if !stsCredential.MatchString(query.Get("X-Amz-Credential")) || !stsSignature.MatchString(query.Get("X-Amz-Signature")) {
		return nil, nil, refused(nil, "sts has a malformed credential or signature")
	}
	return u, query, nil
}

// checkTimes returns the end of the life of a presigned request.
func checkTimes(query url.Values, now time.Time) (until time.Time, err error) {
	date, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	if err != nil {
		return until, refused(nil, "sts has a malformed X-Amz-Date")
	}
	seconds, err := strconv.ParseUint(query.Get("X-Amz-Expires"), 10, 16)
	life := time.Duration(seconds) * time.Second
	if err != nil || life <= 0 || life > maxExpires {
		return until, refused(nil, "sts must expire after 1 to %d seconds: X-Amz-Expires", int(maxExpires.Seconds()))
	}
	until = date.Add(life + skew)
	if date.After(now.Add(skew)) || !now.Before(until) {
		return until, refused(nil, "sts has expired or is from the future: sign a new request, and check the clock")
	}
	return until, nil
}

// callerAnswer is the answer of GetCallerIdentity.
type callerAnswer struct {
	Account string `json:"Account"`
	ARN     string `json:"Arn"`
}

// callerIdentity sends the request.
func (v *Verifier) callerIdentity(r *http.Request) (callerAnswer, error) {
	const down = "AWS STS does not answer: try again"
	resp, err := v.sts.Do(r)
	if err != nil {
		return callerAnswer{}, unavailable(err, down)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return callerAnswer{}, unavailable(err, down)
	}
	var answer struct {
		Response struct {
			Result callerAnswer `json:"GetCallerIdentityResult"`
		} `json:"GetCallerIdentityResponse"`
		Error struct {
			Code string `json:"Code"`
		} `json:"Error"`
	}
	decoded := json.Unmarshal(body, &answer)
	switch {
	case resp.StatusCode == http.StatusOK && decoded == nil:
		return answer.Response.Result, nil
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && answer.Error.Code != "Throttling":
		// The message of STS quotes the request with its security token: only the code is logged.
		return callerAnswer{}, refused(errors.New(answer.Error.Code),
			"AWS STS refuses the presigned request: sign a new one for the host %s", r.Header.Get(hostHeader))
	}
	return callerAnswer{}, unavailable(errors.New("status "+resp.Status), down)
}

// Grammar of an answer: the ARN of a principal, with partition, service, account and resource.
var principal = regexp.MustCompile(`^arn:(aws[a-z-]*):(iam|sts)::([0-9]{12}):([!-~]+)$`)

// identity normalizes an answer. The ARN of the session of a role becomes that of the role,
// without its path, which STS does not tell.
func (a callerAnswer) identity() (access.Identity, error) {
	parts := principal.FindStringSubmatch(a.ARN)
	if parts == nil || parts[3] != a.Account {
		return access.Identity{}, refused(nil, "AWS STS names a principal of an unknown form")
	}
	partition, service, resource := parts[1], parts[2], strings.Split(parts[4], "/")
	claims := map[string]string{"account": a.Account, "arn": a.ARN}
	switch {
	case service == "sts" && resource[0] == "assumed-role" && len(resource) == 3:
		claims["role"], claims["session"] = resource[1], resource[2]
		claims["arn"] = "arn:" + partition + ":iam::" + a.Account + ":role/" + resource[1]
	case service == "iam" && resource[0] == "user" && len(resource) > 1:
		claims["user"] = resource[len(resource)-1]
	}
	return access.Identity{Issuer: access.IssuerSTS, Subject: claims["arn"], Claims: claims}, nil
}
