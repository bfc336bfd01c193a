package s3blobs

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// ofHello and its SHA-256 as S3 writes it.
const (
	ofHello  = oci.Digest("sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
	sumHello = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
)

type noNetwork struct{ t *testing.T }

func (n noNetwork) Do(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a call was made: %s %s", r.Method, r.URL)
	return nil, errors.New("no network")
}

// offline returns Blobs that must not make calls, signing at half past nine.
func offline(t *testing.T, opts Options, change ...func(*s3.Options)) *Blobs {
	t.Helper()
	opts.Now = func() time.Time { return time.Date(2026, 1, 2, 9, 30, 0, 999_999_999, time.UTC) }
	client := s3.New(s3.Options{
		Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "session"),
		HTTPClient: noNetwork{t},
	}, change...)
	return New(client, "bucket", opts)
}

func started(upload string) registry.Stored {
	return registry.Stored{State: state{upload: upload}.encode()}
}

// signedAs fails unless a request has these headers, all signed, and nothing in its
// URL besides the signature and want.
func signedAs(t *testing.T, r direct.Request, headers map[string]string, want url.Values) {
	t.Helper()
	parsed, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	if r.Method != http.MethodPut || parsed.Host != "bucket.s3.eu-central-1.amazonaws.com" || parsed.Path != "/blobs/key" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
	if !maps.Equal(r.Headers, headers) {
		t.Errorf("headers are %q, want %q", r.Headers, headers)
	}
	names := []string{"host"}
	for name, value := range headers {
		if name != "Content-Length" || value != "0" {
			names = append(names, strings.ToLower(name))
		}
	}
	slices.Sort(names)
	query := parsed.Query()
	if got := query.Get("X-Amz-SignedHeaders"); got != strings.Join(names, ";") {
		t.Errorf("signed are %s, want %s", got, names)
	}
	for _, name := range []string{"Algorithm", "Credential", "Date", "Expires", "Security-Token", "SignedHeaders", "Signature"} {
		if query.Get("X-Amz-"+name) == "" {
			t.Errorf("no X-Amz-%s", name)
		}
		query.Del("X-Amz-" + name)
	}
	if query.Encode() != want.Encode() {
		t.Errorf("the URL has %s, want %s", query.Encode(), want.Encode())
	}
}

// TestPresignedUploads: whatever the settings of the client are, all that S3 must
// check is a signed header, which the request names, and nothing else is there.
func TestPresignedUploads(t *testing.T) {
	for _, calculation := range []aws.RequestChecksumCalculation{
		aws.RequestChecksumCalculationWhenSupported, aws.RequestChecksumCalculationWhenRequired,
	} {
		set := func(o *s3.Options) { o.RequestChecksumCalculation = calculation }
		for name, tt := range map[string]struct {
			opts Options
			more map[string]string
		}{
			"no encryption": {},
			"AES256":        {Options{SSE: "AES256"}, map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}},
			"KMS": {Options{SSE: "aws:kms"}, map[string]string{
				"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "true",
			}},
			"KMS with a key": {Options{SSE: "aws:kms", KMSKeyID: "arn:key"}, map[string]string{
				"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "true",
				"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "arn:key",
			}},
		} {
			t.Run(name, func(t *testing.T) {
				blobs := offline(t, tt.opts, set)
				r, err := blobs.PresignPut(t.Context(), "key", ofHello, 5<<30)
				if err != nil {
					t.Fatal(err)
				}
				headers := map[string]string{"Content-Length": "5368709120", "If-None-Match": "*", "X-Amz-Checksum-Sha256": sumHello}
				maps.Copy(headers, tt.more)
				signedAs(t, r, headers, url.Values{"x-id": {"PutObject"}})

				r, err = blobs.PresignPut(t.Context(), "key", ofHello, 0)
				if err != nil {
					t.Fatal(err)
				}
				headers["Content-Length"] = "0"
				signedAs(t, r, headers, url.Values{"x-id": {"PutObject"}})

				part := direct.Part{Number: 10_000, Size: 5, Digest: ofHello}
				if r, err = blobs.PresignPart(t.Context(), "key", started("an+id/"), part); err != nil {
					t.Fatal(err)
				}
				signedAs(t, r, map[string]string{"Content-Length": "5", "X-Amz-Checksum-Sha256": sumHello},
					url.Values{"x-id": {"UploadPart"}, "partNumber": {"10000"}, "uploadId": {"an+id/"}})
			})
		}
	}
}

type shortLived struct{ aws.Credentials }

func (s shortLived) Retrieve(context.Context) (aws.Credentials, error) { return s.Credentials, nil }

// TestUploadExpiry: the request says when it ends, and the URL says the same.
func TestUploadExpiry(t *testing.T) {
	at := time.Date(2026, 1, 2, 9, 30, 0, 0, time.UTC)
	credentials := func(expires time.Time) []func(*s3.Options) {
		return []func(*s3.Options){func(o *s3.Options) {
			o.Credentials = shortLived{aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret", CanExpire: true, Expires: expires}}
		}}
	}
	for name, tt := range map[string]struct {
		change  []func(*s3.Options)
		expires time.Duration
	}{
		"by default":         {nil, 15 * time.Minute},
		"credentials end":    {credentials(at.Add(time.Minute)), time.Minute},
		"credentials do not": {credentials(at.Add(time.Hour)), 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			blobs := offline(t, Options{}, tt.change...)
			put, err := blobs.PresignPut(t.Context(), "key", ofHello, 5)
			if err != nil {
				t.Fatal(err)
			}
			part, err := blobs.PresignPart(t.Context(), "key", started("id"), direct.Part{Number: 1, Size: 5, Digest: ofHello})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []direct.Request{put, part} {
				if !strings.Contains(r.URL, "X-Amz-Date=20260102T093000Z&X-Amz-Expires=900&") {
					t.Errorf("the URL is %s", r.URL)
				}
				if want := at.Add(tt.expires); !r.Expires.Equal(want) || r.Expires.Location() != time.UTC {
					t.Errorf("expires %s, want %s", r.Expires, want)
				}
			}
		})
	}
}

// TestNotPresigned: what S3 could not check, or would refuse, is not signed.
func TestNotPresigned(t *testing.T) {
	blobs := offline(t, Options{})
	sha512 := oci.SHA512.FromBytes(nil)
	if r, err := blobs.PresignPut(t.Context(), "key", ofHello, direct.MaxPut+1); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("more than 5 GiB: %v, %v", r, err)
	}
	if r, err := blobs.PresignPut(t.Context(), "key", sha512, 5); err == nil {
		t.Errorf("sha512: %v", r)
	}
	for name, tt := range map[string]struct {
		stored registry.Stored
		part   direct.Part
	}{
		"sha512":      {started("id"), direct.Part{Number: 1, Size: 5, Digest: sha512}},
		"no digest":   {started("id"), direct.Part{Number: 1, Size: 5}},
		"part 0":      {started("id"), direct.Part{Number: 0, Size: 5, Digest: ofHello}},
		"part 10,001": {started("id"), direct.Part{Number: 10_001, Size: 5, Digest: ofHello}},
		"no upload":   {registry.Stored{}, direct.Part{Number: 1, Size: 5, Digest: ofHello}},
		"no state":    {registry.Stored{State: []byte("?")}, direct.Part{Number: 1, Size: 5, Digest: ofHello}},
	} {
		if r, err := blobs.PresignPart(t.Context(), "key", tt.stored, tt.part); err == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}
