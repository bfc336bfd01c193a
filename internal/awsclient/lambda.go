package awsclient

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ForLambda builds the clients of a function from the variables that Lambda sets
// (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) and those for
// emulators (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB). Everything
// else is the SDK's default. The credentials outlive the process: Lambda replaces it before
// they expire.
func ForLambda(get func(string) string, settings Settings) (Clients, error) {
	if err := settings.Check(); err != nil {
		return Clients{}, err
	}
	id, secret := get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")
	if id == "" || secret == "" {
		return Clients{}, errors.New("no AWS credentials: Lambda sets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	cfg := aws.Config{
		Region:      get("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, get("AWS_SESSION_TOKEN")),
		RetryMode:   aws.RetryModeStandard,
		HTTPClient:  HTTPClient(),
		// The defaults of aws-sdk-go-v2/config.
		RequestChecksumCalculation:  aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation:  aws.ResponseChecksumValidationWhenSupported,
		AccountIDEndpointMode:       aws.AccountIDEndpointModePreferred,
		RequestMinCompressSizeBytes: 10240,
		DefaultsMode:                aws.DefaultsModeLegacy,
		ConfigSources:               []any{endpoints(get)},
	}
	if all := get("AWS_ENDPOINT_URL"); all != "" {
		cfg.BaseEndpoint = &all
	}
	return New(cfg, settings)
}

// endpoints returns the endpoint of a service to the SDK.
type endpoints func(string) string

// GetServiceBaseEndpoint implements the interface of the SDK's configuration sources.
func (get endpoints) GetServiceBaseEndpoint(_ context.Context, sdkID string) (string, bool, error) {
	name := ""
	switch sdkID {
	case s3.ServiceID:
		name = "AWS_ENDPOINT_URL_S3"
	case dynamodb.ServiceID:
		name = "AWS_ENDPOINT_URL_DYNAMODB"
	}
	value := get(name)
	return value, value != "", nil
}
