// Package env reads the PIERLESS_ variables. No other package reads the environment, except
// that internal/awsenv lets the AWS SDK read its own variables.
//
// It must not know the purpose of the values.
package env

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config holds the values of the variables. Unset variables have defaults.
type Config struct {
	Listen string // PIERLESS_LISTEN, host:port
	Data   string // PIERLESS_DATA_DIR, a directory
	Bucket string // PIERLESS_BUCKET; with Table: storage on AWS
	Table  string // PIERLESS_TABLE
	SSE    string // PIERLESS_SSE: "", AES256 or aws:kms
	KMSKey string // PIERLESS_KMS_KEY: key id or ARN for aws:kms
	Log    string // PIERLESS_LOG: text or json

	// AdminTokenSHA256 is PIERLESS_ADMIN_TOKEN_SHA256: 64 lower-case hex digits, or ""
	// for a registry without access control.
	AdminTokenSHA256 string

	TLSCert string // PIERLESS_TLS_CERT, a PEM file: the certificate and its intermediates
	TLSKey  string // PIERLESS_TLS_KEY, a PEM file

	ServeBlobs     bool // PIERLESS_NO_REDIRECT: no redirects to S3
	RedirectHead   bool // PIERLESS_REDIRECT_HEAD: HEAD of blobs is redirected to S3 too
	DualStack      bool // PIERLESS_DUAL_STACK: S3 by its IPv4 and IPv6 endpoint, presigned URLs too
	AllowSparse    bool // PIERLESS_ALLOW_SPARSE_INDEX: indexes with missing children
	AnonymousPull  bool // PIERLESS_ANONYMOUS_PULL: pulls need no credentials
	BehindTLSProxy bool // PIERLESS_BEHIND_TLS_PROXY: every request comes through a proxy that terminates TLS
	InsecureListen bool // PIERLESS_INSECURE_LISTEN: other machines may connect without TLS or access control
	RequestLog     bool // PIERLESS_REQUEST_LOG: one line per request; true by default

	// Grace is PIERLESS_GRACE: the time for which garbage collection keeps content that no image
	// needs, at least a second. All processes and functions of one registry need the same: each
	// renews a lease when half of its own grace is over.
	Grace time.Duration
	// SweepInterval is PIERLESS_SWEEP_INTERVAL: the time between two sweeps of 'pierless serve',
	// at least a second.
	SweepInterval time.Duration

	// PrivateIssuers is PIERLESS_PRIVATE_ISSUERS: issuers of identities may have private and
	// loopback addresses, such as a GitLab of the same network.
	PrivateIssuers bool

	// PublicHost is PIERLESS_PUBLIC_HOST: the host, with a port unless it is 443, by which
	// clients address the registry. Proofs of an identity must name it. Empty means the host
	// of the request.
	PublicHost string

	// AllowHosts is PIERLESS_ALLOW_HOST: more hosts by which clients may address an open
	// registry, each with or without a port, separated by commas.
	AllowHosts []string
}

// Load reads the variables with get, which is os.Getenv in production. The error names the
// variable.
func Load(get func(string) string) (Config, error) {
	c := Config{
		Listen: cmp.Or(get("PIERLESS_LISTEN"), "127.0.0.1:5000"),
		Data:   cmp.Or(get("PIERLESS_DATA_DIR"), "./pierless-data"),
		Bucket: get("PIERLESS_BUCKET"),
		Table:  get("PIERLESS_TABLE"),
		SSE:    get("PIERLESS_SSE"),
		KMSKey: get("PIERLESS_KMS_KEY"),
		Log:    cmp.Or(get("PIERLESS_LOG"), "text"),

		TLSCert: get("PIERLESS_TLS_CERT"),
		TLSKey:  get("PIERLESS_TLS_KEY"),

		AdminTokenSHA256: get("PIERLESS_ADMIN_TOKEN_SHA256"),
		PublicHost:       get("PIERLESS_PUBLIC_HOST"),
		RequestLog:       true,
		Grace:            24 * time.Hour,
		SweepInterval:    time.Hour,
	}
	if hosts := get("PIERLESS_ALLOW_HOST"); hosts != "" {
		c.AllowHosts = strings.Split(hosts, ",")
	}
	for name, field := range map[string]*bool{
		"PIERLESS_NO_REDIRECT": &c.ServeBlobs, "PIERLESS_ALLOW_SPARSE_INDEX": &c.AllowSparse,
		"PIERLESS_ANONYMOUS_PULL": &c.AnonymousPull, "PIERLESS_REDIRECT_HEAD": &c.RedirectHead,
		"PIERLESS_REQUEST_LOG": &c.RequestLog, "PIERLESS_DUAL_STACK": &c.DualStack,
		"PIERLESS_BEHIND_TLS_PROXY": &c.BehindTLSProxy, "PIERLESS_INSECURE_LISTEN": &c.InsecureListen,
		"PIERLESS_PRIVATE_ISSUERS": &c.PrivateIssuers,
	} {
		value := get(name)
		if value == "" {
			continue
		}
		b, err := strconv.ParseBool(value)
		if err != nil {
			return Config{}, fmt.Errorf("%s is %q: use true or false", name, value)
		}
		*field = b
	}
	for name, field := range map[string]*time.Duration{
		"PIERLESS_GRACE": &c.Grace, "PIERLESS_SWEEP_INTERVAL": &c.SweepInterval,
	} {
		if value := get(name); value != "" {
			var err error
			if *field, err = time.ParseDuration(value); err != nil {
				return Config{}, fmt.Errorf("%s is %q: use a time such as 24h or 90m", name, value)
			}
		}
	}
	return c, nil
}

// Check reports invalid values and values that contradict each other.
func (c Config) Check() error {
	switch {
	case (c.Bucket == "") != (c.Table == ""):
		return fmt.Errorf("PIERLESS_BUCKET is %q and PIERLESS_TABLE is %q: set both for storage on AWS, or neither for the embedded store", c.Bucket, c.Table)
	case c.Log != "text" && c.Log != "json":
		return fmt.Errorf("PIERLESS_LOG is %q: use text or json", c.Log)
	case c.SSE != "" && c.SSE != "AES256" && c.SSE != "aws:kms":
		return fmt.Errorf("PIERLESS_SSE is %q: use AES256 or aws:kms, or leave it out for the bucket's default", c.SSE)
	case c.Grace < time.Second:
		return fmt.Errorf("PIERLESS_GRACE is %v: use 1s or more; 24h is the default", c.Grace)
	case c.SweepInterval < time.Second:
		return fmt.Errorf("PIERLESS_SWEEP_INTERVAL is %v: use 1s or more; 1h is the default", c.SweepInterval)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("PIERLESS_TLS_CERT is %q and PIERLESS_TLS_KEY is %q: set both for HTTPS, or neither", c.TLSCert, c.TLSKey)
	case c.AnonymousPull && c.AdminTokenSHA256 == "":
		return errors.New("PIERLESS_ANONYMOUS_PULL is set without PIERLESS_ADMIN_TOKEN_SHA256: without a token everything is open, pushes too")
	}
	if c.PublicHost != "" && !isHost(c.PublicHost) {
		return fmt.Errorf("PIERLESS_PUBLIC_HOST is %q: use a host such as registry.example.com or registry.example.com:5000", c.PublicHost)
	}
	for _, host := range c.AllowHosts {
		if host == "" || strings.ContainsAny(host, "/*@ ") {
			return fmt.Errorf("PIERLESS_ALLOW_HOST has %q: use hosts such as registry.example.com or registry.example.com:5000", host)
		}
	}
	return nil
}

// isHost reports whether text is what stands between "https://" and the path in the URL of a
// registry, in lower case: clients compare and sign it as it is.
func isHost(text string) bool {
	u, err := url.Parse("https://" + text)
	return err == nil && u.Host == text && u.Hostname() != "" && text == strings.ToLower(text) && !strings.HasSuffix(text, ":") &&
		!strings.ContainsAny(text, "*, ")
}

// OnAWS reports whether blobs are in S3 and metadata in DynamoDB.
func (c Config) OnAWS() bool { return c.Bucket != "" && c.Table != "" }
