// Package awsproof proves the identity of AWS credentials to a registry.
//
// It must not know how the registry checks a proof, or where the credentials come from.
package awsproof

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

const (
	// defaultRegion is that of STS if the configuration has none: its endpoint knows the
	// credentials of every region.
	defaultRegion = "us-east-1"

	tokenSeconds = 300
	// A presigned request is good from up to 30 seconds ago until 30 to 60 seconds from now. A
	// registry accepts each one once, and those of one second would be equal if these did not vary.
	presignSeconds, presignLeast = 60, 30
)

// WebIdentityToken returns an ID token of the account's own issuer. It fails if the account has
// not enabled outbound web identity federation.
func WebIdentityToken(ctx context.Context, cfg aws.Config, audience string) (string, error) {
	client := sts.NewFromConfig(cfg, func(o *sts.Options) { o.Region = cmp.Or(o.Region, defaultRegion) })
	out, err := client.GetWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{
		Audience: []string{audience}, SigningAlgorithm: aws.String("ES384"), DurationSeconds: aws.Int32(tokenSeconds),
	})
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return "", fmt.Errorf("sts:GetWebIdentityToken: %s: %s", answer.ErrorCode(), answer.ErrorMessage())
	}
	if err != nil {
		return "", fmt.Errorf("sts:GetWebIdentityToken: %w", err)
	}
	return aws.ToString(out.WebIdentityToken), nil
}

// PresignCallerIdentity returns the URL of a request for sts:GetCallerIdentity, with the signed
// header X-Pierless-Host: it is of no use to another registry. It makes no request, and expires
// within 60 seconds.
func PresignCallerIdentity(ctx context.Context, cfg aws.Config, host string, now time.Time) (string, error) {
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	region, domain := cmp.Or(cfg.Region, defaultRegion), ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	age := rand.N(presignSeconds - presignLeast + 1)
	life := presignLeast + age + rand.N(presignSeconds-presignLeast-age+1)
	query := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {strconv.Itoa(life)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://sts."+region+domain+"/?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Pierless-Host", host)
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, req, hex.EncodeToString(empty[:]), "sts", region, now.Add(-time.Duration(age)*time.Second))
	return signed, err
}
