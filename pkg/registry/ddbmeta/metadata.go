package ddbmeta

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/pkg/registry"
)

// Metadata is registry.Metadata on a table. Use New.
type Metadata struct {
	client *dynamodb.Client
	table  *string
}

var _ registry.Metadata = (*Metadata)(nil)

// New returns the rows of a table that awsinit.CreateTable or a template has created.
func New(client *dynamodb.Client, table string) *Metadata {
	client = dynamodb.New(client.Options(), func(o *dynamodb.Options) {
		o.APIOptions = append(o.APIOptions, awsclient.MarkUnavailable(registry.ErrUnavailable))
	})
	return &Metadata{client: client, table: aws.String(table)}
}

// Query reads one page. It requests one row more than the limit, so that More is exact
// unless DynamoDB's own page of 1 MB ends first.
func (n *Metadata) Query(ctx context.Context, q registry.Query) (registry.Page, error) {
	input, nothing, err := n.queryInput(q)
	if err != nil || nothing {
		return registry.Page{}, err
	}
	var page registry.Page
	// A page of DynamoDB may be empty although others follow.
	for len(page.Rows) == 0 {
		out, err := n.client.Query(ctx, input)
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
		page.More = len(out.LastEvaluatedKey) > 0
		if !page.More {
			break
		}
		input.ExclusiveStartKey = out.LastEvaluatedKey
	}
	if len(page.Rows) > q.Limit {
		page.Rows, page.More = page.Rows[:q.Limit], true
	}
	return page, nil
}

// queryInput renders a query. DynamoDB rejects a start key outside of the prefix: before
// the prefix none is needed; after it there is nothing to read.
func (n *Metadata) queryInput(q registry.Query) (input *dynamodb.QueryInput, nothing bool, err error) {
	if q.Limit < 1 || q.Limit > registry.MaxPage {
		return nil, false, errors.New("ddbmeta: the limit of a query is out of range")
	}
	var e expression
	condition := e.name(attrPK) + " = " + e.value(q.PK)
	if q.Prefix != "" {
		condition += " AND begins_with(" + e.name(attrSK) + ", " + e.value(q.Prefix) + ")"
	}
	input = &dynamodb.QueryInput{
		TableName:              n.table,
		ConsistentRead:         aws.Bool(true),
		KeyConditionExpression: aws.String(condition),
		Limit:                  aws.Int32(int32(q.Limit) + 1), // bounded by MaxPage
	}
	if q.After != "" && q.After >= q.Prefix {
		if !strings.HasPrefix(q.After, q.Prefix) {
			return nil, true, nil
		}
		input.ExclusiveStartKey, err = encodeKey(registry.Key{PK: q.PK, SK: q.After})
		if err != nil {
			return nil, false, err
		}
	}
	input.ExpressionAttributeNames, input.ExpressionAttributeValues = e.names, e.values
	return input, false, e.err
}

// Update applies one write. If DynamoDB's answer is lost, the SDK repeats the write, which
// then meets its own effect: a *Conflict whose Old holds the write's own values.
func (n *Metadata) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	r, err := render(w)
	if err != nil {
		return registry.Row{}, err
	}
	row, err := n.update(ctx, w, r)
	if err != nil {
		return registry.Row{}, conflictOf(w.Key, err)
	}
	return row, nil
}

func (n *Metadata) update(ctx context.Context, w registry.Write, r rendered) (registry.Row, error) {
	const old = types.ReturnValuesOnConditionCheckFailureAllOld
	switch w.Op {
	case registry.Put:
		_, err := n.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: n.table, Item: r.item, ConditionExpression: r.condition,
			ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
			ReturnValuesOnConditionCheckFailure: old,
		})
		return registry.Row{Key: w.Key, Attrs: w.Apply(nil)}, err
	case registry.Delete:
		_, err := n.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: n.table, Key: r.key, ConditionExpression: r.condition,
			ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
			ReturnValuesOnConditionCheckFailure: old,
		})
		return registry.Row{Key: w.Key}, err
	case registry.Set:
		out, err := n.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: n.table, Key: r.key, ConditionExpression: r.condition, UpdateExpression: r.update,
			ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
			ReturnValues: types.ReturnValueAllNew, ReturnValuesOnConditionCheckFailure: old,
		}, retrying(w))
		if err != nil {
			return registry.Row{}, err
		}
		return decodeRow(out.Attributes)
	default:
		return registry.Row{}, errors.New("ddbmeta: a check needs a transaction")
	}
}

// retrying disables the SDK's retries for a write that would count twice if its first
// answer were lost. The caller gets the error instead, which says that the write may have
// been applied.
func retrying(w registry.Write) func(*dynamodb.Options) {
	return func(o *dynamodb.Options) {
		if len(w.Add) > 0 && !excludes(w, w.If) {
			o.Retryer = aws.NopRetryer{}
		}
	}
}

// excludes reports whether a condition cannot hold on the row that the write leaves: if
// the write is applied twice in a row, the second time is a conflict.
func excludes(w registry.Write, c registry.Cond) bool {
	switch c.Op {
	case registry.RowAbsent:
		return true
	case registry.AttrEqual:
		if _, set := w.Attrs[c.Attr]; set {
			return !c.Holds(w.Apply(nil))
		}
		return w.Add[c.Attr] != 0
	case registry.AllOf:
		for _, of := range c.Of {
			if excludes(w, of) {
				return true
			}
		}
	case registry.Always, registry.RowExists, registry.AttrLess, registry.AttrGreater:
	}
	return false
}

// Transact applies all writes or none. The token is DynamoDB's ClientRequestToken: with the
// same token the writes must be the same, else it returns DynamoDB's
// IdempotentParameterMismatchException unchanged.
func (n *Metadata) Transact(ctx context.Context, token string, writes ...registry.Write) error {
	if len(writes) > registry.MaxTransact {
		return fmt.Errorf("ddbmeta: %d writes in one transaction, %d are the limit", len(writes), registry.MaxTransact)
	}
	items := make([]types.TransactWriteItem, len(writes))
	seen := make(map[registry.Key]bool, len(writes))
	for i, w := range writes {
		// DynamoDB Local takes this for a conflict.
		if seen[w.Key] {
			return fmt.Errorf("ddbmeta: two writes of one transaction change the row %q", w.Key)
		}
		seen[w.Key] = true
		r, err := render(w)
		if err != nil {
			return err
		}
		items[i] = n.transactItem(w.Op, r)
	}
	input := &dynamodb.TransactWriteItemsInput{TransactItems: items}
	if token != "" { // else the SDK makes one up, so that its own retries count once
		input.ClientRequestToken = aws.String(token)
	}
	if _, err := n.client.TransactWriteItems(ctx, input); err != nil {
		return cancellation(writes, err)
	}
	return nil
}

func (n *Metadata) transactItem(op registry.Op, r rendered) types.TransactWriteItem {
	const old = types.ReturnValuesOnConditionCheckFailureAllOld
	switch op {
	case registry.Put:
		return types.TransactWriteItem{Put: &types.Put{
			TableName: n.table, Item: r.item, ConditionExpression: r.condition,
			ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
			ReturnValuesOnConditionCheckFailure: old,
		}}
	case registry.Delete:
		return types.TransactWriteItem{Delete: &types.Delete{
			TableName: n.table, Key: r.key, ConditionExpression: r.condition,
			ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
			ReturnValuesOnConditionCheckFailure: old,
		}}
	case registry.Check:
		return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName: n.table, Key: r.key, ConditionExpression: r.condition,
			ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
			ReturnValuesOnConditionCheckFailure: old,
		}}
	case registry.Set:
	}
	return types.TransactWriteItem{Update: &types.Update{
		TableName: n.table, Key: r.key, ConditionExpression: r.condition, UpdateExpression: r.update,
		ExpressionAttributeNames: r.names, ExpressionAttributeValues: r.values,
		ReturnValuesOnConditionCheckFailure: old,
	}}
}
