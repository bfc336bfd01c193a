package ddbmeta

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/pierless/pierless/pkg/registry"
)

// failure maps errors that call for another try to ErrContended, and returns all others
// unchanged.
func failure(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && contended(api.ErrorCode()) {
		return fmt.Errorf("%w: %w", registry.ErrContended, err)
	}
	return err
}

// contended knows the error codes of requests and of a transaction's cancellation reasons.
func contended(code string) bool {
	switch code {
	case "TransactionConflictException", "TransactionInProgressException",
		"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded",
		"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
		return true
	}
	return false
}

// conflictOf maps the failure of a single write.
func conflictOf(key registry.Key, err error) error {
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		return failure(err)
	}
	old, err := decodeFound(key, failed.Item)
	if err != nil {
		return err
	}
	return &registry.Conflict{Old: []*registry.Row{&old}}
}

// cancellation maps the failure of a transaction. If one reason calls for another try, that
// is the result: the rows in the other reasons may have changed by then.
func cancellation(writes []registry.Write, err error) error {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return failure(err)
	}
	conflict := &registry.Conflict{Old: make([]*registry.Row, len(writes))}
	failed := false
	for i, reason := range canceled.CancellationReasons {
		code := aws.ToString(reason.Code)
		if contended(code) {
			return fmt.Errorf("%w: %w", registry.ErrContended, err)
		}
		if code != "ConditionalCheckFailed" || i >= len(writes) {
			continue
		}
		old, decodeErr := decodeFound(writes[i].Key, reason.Item)
		if decodeErr != nil {
			return decodeErr
		}
		conflict.Old[i], failed = &old, true
	}
	if !failed {
		return err
	}
	return conflict
}
