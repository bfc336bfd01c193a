package policyproxy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/pierless/pierless/localstack/cloud/internal/iam"
)

// attribute is a key attribute in DynamoDB's JSON: a string, a number or bytes.
type attribute struct {
	S *string
	N *string
	B *string
}

func (a attribute) text() (string, bool) {
	for _, value := range []*string{a.S, a.N, a.B} {
		if value != nil {
			return *value, true
		}
	}
	return "", false
}

type attributes map[string]json.RawMessage

// itemOperation has the common fields of reads and writes of one item.
type itemOperation struct {
	TableName string
	Key, Item attributes
}

// dynamoInput has the fields of all requests that identify items.
type dynamoInput struct {
	itemOperation
	IndexName                 string
	KeyConditionExpression    string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues attributes
	RequestItems              map[string]json.RawMessage
	TransactItems             []map[string]itemOperation
}

// transactActions has the IAM action by kind of transaction item.
var transactActions = map[string]string{
	"ConditionCheck": "dynamodb:ConditionCheckItem", "Put": "dynamodb:PutItem", "Update": "dynamodb:UpdateItem",
	"Delete": "dynamodb:DeleteItem", "Get": "dynamodb:GetItem",
}

// dynamoCalls returns the IAM calls of a request to DynamoDB: one for each table and
// action, and for transactions two for each item.
func (c *Config) dynamoCalls(target string, body []byte) ([]iam.Call, error) {
	_, operation, ok := strings.Cut(target, ".")
	if !ok {
		return nil, unknownCall("target %q", target)
	}
	var in dynamoInput
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, unknownCall("%s: %v", operation, err)
	}
	switch operation {
	case "GetItem", "PutItem", "UpdateItem", "DeleteItem":
		return c.itemCalls("dynamodb:"+operation, in.itemOperation)
	case "Query":
		return c.queryCalls(in)
	case "BatchGetItem", "BatchWriteItem":
		return c.batchCalls("dynamodb:"+operation, in.RequestItems)
	case "TransactWriteItems", "TransactGetItems":
		var calls []iam.Call
		for _, item := range in.TransactItems {
			for kind, o := range item {
				action, ok := transactActions[kind]
				if !ok {
					return nil, unknownCall("%s with %s", operation, kind)
				}
				some, err := c.itemCalls(action, o)
				if err != nil {
					return nil, err
				}
				calls = append(calls, some...)
			}
		}
		if len(calls) == 0 {
			return nil, unknownCall("%s without items", operation)
		}
		return append(calls, wholeTransaction(calls)...), nil
	case "Scan", "DescribeTable":
		// Without leading keys: as on AWS, a condition on them does not stop a scan.
		return []iam.Call{{Action: "dynamodb:" + operation, Resource: c.tableARN(in.TableName)}}, nil
	}
	return nil, unknownCall("%s", operation)
}

// wholeTransaction returns the calls of a transaction's items with the keys of all of
// them. AWS does not document whether dynamodb:LeadingKeys holds the key of the item or
// these, so a policy must allow both.
func wholeTransaction(calls []iam.Call) []iam.Call {
	var keys []string
	for _, call := range calls {
		keys = append(keys, call.Context[iam.KeyLeadingKeys]...)
	}
	whole := slices.Clone(calls)
	for i := range whole {
		whole[i].Context = map[string][]string{iam.KeyLeadingKeys: keys}
	}
	return whole
}

func (c *Config) itemCalls(action string, o itemOperation) ([]iam.Call, error) {
	item := o.Key
	if item == nil {
		item = o.Item
	}
	key, err := c.leadingKey(o.TableName, item)
	if err != nil {
		return nil, err
	}
	return []iam.Call{c.call(action, o.TableName, key)}, nil
}

func (c *Config) call(action, table string, keys ...string) iam.Call {
	return iam.Call{Action: action, Resource: c.tableARN(table), Context: map[string][]string{iam.KeyLeadingKeys: keys}}
}

func (c *Config) tableARN(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return "arn:aws:dynamodb:" + c.Region + ":" + c.AccountID + ":table/" + name
}

func (c *Config) hashKey(table string) (string, error) {
	name := table[strings.LastIndexByte(table, '/')+1:]
	key, ok := c.HashKeys[name]
	if !ok {
		return "", unknownCall("the table %q is not in the template", table)
	}
	return key, nil
}

func (c *Config) leadingKey(table string, item attributes) (string, error) {
	name, err := c.hashKey(table)
	if err != nil {
		return "", err
	}
	return decodeKey(name, item[name])
}

func decodeKey(name string, raw json.RawMessage) (string, error) {
	var a attribute
	if raw != nil && json.Unmarshal(raw, &a) == nil {
		if text, ok := a.text(); ok {
			return text, nil
		}
	}
	return "", unknownCall("an item without the partition key %s", name)
}

func (c *Config) batchCalls(action string, tables map[string]json.RawMessage) ([]iam.Call, error) {
	var calls []iam.Call
	for table, raw := range tables {
		items, err := batchItems(raw)
		if err != nil {
			return nil, unknownCall("%s: %v", action, err)
		}
		var keys []string
		for _, item := range items {
			key, err := c.leadingKey(table, item)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		calls = append(calls, c.call(action, table, keys...))
	}
	if len(calls) == 0 {
		return nil, unknownCall("%s without tables", action)
	}
	return calls, nil
}

// batchItems reads the items of reads, {"Keys": [...]}, and of writes, [{"PutRequest": ...}].
func batchItems(raw json.RawMessage) ([]attributes, error) {
	var reads struct{ Keys []attributes }
	if err := json.Unmarshal(raw, &reads); err == nil {
		return reads.Keys, nil
	}
	var writes []struct {
		PutRequest    *struct{ Item attributes }
		DeleteRequest *struct{ Key attributes }
	}
	if err := json.Unmarshal(raw, &writes); err != nil {
		return nil, err
	}
	var items []attributes
	for _, w := range writes {
		if w.PutRequest != nil {
			items = append(items, w.PutRequest.Item)
		}
		if w.DeleteRequest != nil {
			items = append(items, w.DeleteRequest.Key)
		}
	}
	return items, nil
}

// equality finds "name = :value" in a key condition, which may also have a range.
var equality = regexp.MustCompile(`([#A-Za-z0-9_.-]+)\s*=\s*(:[A-Za-z0-9_]+)`)

func (c *Config) queryCalls(in dynamoInput) ([]iam.Call, error) {
	if in.IndexName != "" {
		return nil, unknownCall("a query of the index %s", in.IndexName)
	}
	name, err := c.hashKey(in.TableName)
	if err != nil {
		return nil, err
	}
	for _, match := range equality.FindAllStringSubmatch(in.KeyConditionExpression, -1) {
		attribute := match[1]
		if real, ok := in.ExpressionAttributeNames[attribute]; ok {
			attribute = real
		}
		if attribute != name {
			continue
		}
		key, err := decodeKey(name, in.ExpressionAttributeValues[match[2]])
		if err != nil {
			return nil, err
		}
		return []iam.Call{c.call("dynamodb:Query", in.TableName, key)}, nil
	}
	return nil, unknownCall("a query without the partition key %s", name)
}
