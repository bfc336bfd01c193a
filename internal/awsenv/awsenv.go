// Package awsenv builds the AWS clients of programs that people run. It alone reads AWS's
// environment variables and profiles (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_S3,
// AWS_ENDPOINT_URL_DYNAMODB, credentials, ...).
//
// It must not know the use of the clients, or read any other configuration.
package awsenv

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/pierless/pierless/internal/awsclient"
)

// Settings are the AWS settings of Pierless itself; the environment has the others.
type Settings = awsclient.Settings

// Clients share one HTTP transport. Both retry in the SDK's standard mode.
type Clients = awsclient.Clients

// Load builds the clients without calling AWS, except if the source of the credentials
// needs a call. It fails if settings contradict each other or no region is set; missing
// credentials show at the first call.
func Load(ctx context.Context, settings Settings) (Clients, error) {
	if err := settings.Check(); err != nil {
		return Clients{}, err
	}
	cfg, err := Config(ctx)
	if err != nil {
		return Clients{}, err
	}
	return awsclient.New(cfg, settings)
}

// Config reads the configuration without calling AWS, except if the source of the credentials
// needs a call.
func Config(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRetryMode(aws.RetryModeStandard), config.WithHTTPClient(awsclient.HTTPClient()))
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	return cfg, nil
}

// CheckCredentials retrieves the credentials from their source. The error tells the
// operator what to set.
func CheckCredentials(ctx context.Context, clients Clients) error {
	if _, err := clients.S3.Options().Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run with a role (cause: %w)", err)
	}
	return nil
}
