package ddbmeta

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/pkg/registry"
)

// Check reads a row that does not exist, with the permission that every request needs. The
// error tells the operator which setting to change. It costs one call.
func (n *Metadata) Check(ctx context.Context) error {
	_, err := n.getOne(ctx, registry.Key{PK: "check", SK: "check"})
	var missing *types.ResourceNotFoundException
	var api smithy.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return fmt.Errorf("there is no table %s: 'pierless init' creates bucket and table (cause: %w)", *n.table, err)
	case errors.As(err, &api) && api.ErrorCode() == "ValidationException":
		return fmt.Errorf("the table %s is not one of Pierless, its keys must be %s and %s: name another, 'pierless init' creates it (cause: %w)",
			*n.table, attrPK, attrSK, err)
	}
	if advice := awsclient.Advice(err); advice != "" {
		return fmt.Errorf("reading from the table %s: %s (cause: %w)", *n.table, advice, err)
	}
	return fmt.Errorf("reading from the table %s: %w", *n.table, err)
}
