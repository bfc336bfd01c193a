package awsinit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// ttlAttr holds seconds since 1970; DynamoDB deletes a row some time after them.
const ttlAttr = "ttl"

// CreateTable creates the table, paid per request, with time to live by the attribute ttl,
// and waits until it is active. It accepts an existing table if its keys are right, else
// the error says which is wrong.
func CreateTable(ctx context.Context, client *dynamodb.Client, table string) error {
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:   aws.String(table),
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
	})
	var exists *types.ResourceInUseException
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("creating table %s: %w", table, err)
	}
	description, err := waitActive(ctx, client, table)
	if err != nil {
		return fmt.Errorf("waiting for table %s: %w", table, err)
	}
	if err := checkKeys(description); err != nil {
		return fmt.Errorf("table %s: %w", table, err)
	}
	if err := enableTTL(ctx, client, table); err != nil {
		return fmt.Errorf("enabling the expiry of rows in table %s: %w", table, err)
	}
	return nil
}

func waitActive(ctx context.Context, client *dynamodb.Client, table string) (*types.TableDescription, error) {
	for try := 0; ; try++ {
		out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)})
		// DescribeTable is not strongly consistent: right after CreateTable, it may not know.
		var unknown *types.ResourceNotFoundException
		switch {
		case err != nil && (!errors.As(err, &unknown) || try > 20):
			return nil, err
		case err == nil && (out.Table.TableStatus == types.TableStatusActive ||
			out.Table.TableStatus == types.TableStatusUpdating):
			return out.Table, nil
		case err == nil && out.Table.TableStatus != types.TableStatusCreating:
			return nil, fmt.Errorf("its state is %s", out.Table.TableStatus)
		}
		select {
		case <-time.After(50 * time.Millisecond << min(try, 4)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// checkKeys reports a table with other keys.
func checkKeys(table *types.TableDescription) error {
	kinds := make(map[string]types.ScalarAttributeType)
	for _, attr := range table.AttributeDefinitions {
		kinds[aws.ToString(attr.AttributeName)] = attr.AttributeType
	}
	want := map[types.KeyType]string{types.KeyTypeHash: "pk", types.KeyTypeRange: "sk"}
	for _, key := range table.KeySchema {
		name := aws.ToString(key.AttributeName)
		if want[key.KeyType] != name || kinds[name] != types.ScalarAttributeTypeS {
			return fmt.Errorf("its %s key is %q of type %s, but must be %q of type S",
				key.KeyType, name, kinds[name], want[key.KeyType])
		}
	}
	if len(table.KeySchema) != len(want) {
		return errors.New("it needs the partition key pk and the sort key sk, both strings")
	}
	return nil
}

func enableTTL(ctx context.Context, client *dynamodb.Client, table string) error {
	enabled := func() (bool, error) {
		out, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(table)})
		if err != nil || out.TimeToLiveDescription == nil {
			return false, err
		}
		ttl := out.TimeToLiveDescription
		on := ttl.TimeToLiveStatus == types.TimeToLiveStatusEnabled || ttl.TimeToLiveStatus == types.TimeToLiveStatusEnabling
		if on && aws.ToString(ttl.AttributeName) != ttlAttr {
			return false, fmt.Errorf("rows expire by %q already, but must by %q", aws.ToString(ttl.AttributeName), ttlAttr)
		}
		return on, nil
	}
	if on, err := enabled(); err != nil || on {
		return err
	}
	_, err := client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: aws.String(table),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(ttlAttr), Enabled: aws.Bool(true),
		},
	})
	if err == nil {
		return nil
	}
	// Another process may have done the same in between; DynamoDB calls that a
	// validation error.
	if on, again := enabled(); again == nil && on {
		return nil
	}
	return err
}
