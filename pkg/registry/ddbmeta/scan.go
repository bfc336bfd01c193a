package ddbmeta

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/pierless/pierless/pkg/registry"
)

var _ registry.RowScanner = (*Metadata)(nil)

// ScanRows implements registry.RowScanner. It needs the permission dynamodb:Scan. A page has at
// most 1 MB.
func (n *Metadata) ScanRows(ctx context.Context, after registry.Key, limit int) (page registry.Page, err error) {
	if limit < 1 || limit > registry.MaxPage {
		return page, errors.New("ddbmeta: the limit of a scan is out of range")
	}
	input := &dynamodb.ScanInput{TableName: n.table, ConsistentRead: aws.Bool(true), Limit: aws.Int32(int32(limit))} //nolint:gosec // checked
	if after != (registry.Key{}) {
		if input.ExclusiveStartKey, err = encodeKey(after); err != nil {
			return page, err
		}
	}
	// A page of DynamoDB may be empty although others follow.
	for page.More = true; page.More && len(page.Rows) == 0; {
		out, err := n.client.Scan(ctx, input)
		if err != nil {
			return registry.Page{}, failure(err)
		}
		for _, item := range out.Items {
			row, err := decodeRow(item)
			if err != nil {
				return registry.Page{}, err
			}
			page.Rows = append(page.Rows, row)
		}
		page.More, input.ExclusiveStartKey = len(out.LastEvaluatedKey) > 0, out.LastEvaluatedKey
	}
	return page, nil
}
