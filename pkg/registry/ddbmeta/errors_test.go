package ddbmeta

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/pierless/pierless/pkg/registry"
)

func TestCancellations(t *testing.T) {
	writes := []registry.Write{{Key: registry.Key{PK: "p", SK: "0"}}, {Key: registry.Key{PK: "p", SK: "1"}}}
	item := map[string]types.AttributeValue{
		attrPK: &types.AttributeValueMemberS{Value: "p"}, attrSK: &types.AttributeValueMemberS{Value: "1"},
		"a": &types.AttributeValueMemberS{Value: "b"},
	}
	for _, test := range []struct {
		codes     [2]string
		contended bool
		conflict  [2]bool
	}{
		{[2]string{"None", "ConditionalCheckFailed"}, false, [2]bool{false, true}},
		{[2]string{"ConditionalCheckFailed", "ConditionalCheckFailed"}, false, [2]bool{true, true}},
		{[2]string{"TransactionConflict", "ConditionalCheckFailed"}, true, [2]bool{}},
		{[2]string{"ConditionalCheckFailed", "ThrottlingError"}, true, [2]bool{}},
		{[2]string{"None", "ProvisionedThroughputExceeded"}, true, [2]bool{}},
		{[2]string{"None", "ValidationError"}, false, [2]bool{}},
	} {
		canceled := &types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{
			{Code: aws.String(test.codes[0])}, {Code: aws.String(test.codes[1]), Item: item},
		}}
		err := cancellation(writes, canceled)
		if errors.Is(err, registry.ErrContended) != test.contended {
			t.Errorf("%v: %v", test.codes, err)
		}
		var conflict *registry.Conflict
		if errors.As(err, &conflict) != (test.conflict[0] || test.conflict[1]) {
			t.Errorf("%v: %v", test.codes, err)
			continue
		}
		if conflict == nil {
			continue
		}
		for i, failed := range test.conflict {
			old := conflict.Old[i]
			if (old != nil) != failed || old != nil && (old.Key != writes[i].Key || (old.Attrs == nil) != (i == 0)) {
				t.Errorf("%v: the row of write %d is %v", test.codes, i, old)
			}
		}
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		err       error
		contended bool
	}{
		{&types.TransactionConflictException{}, true},
		{&types.TransactionInProgressException{}, true},
		{&types.ProvisionedThroughputExceededException{}, true},
		{&types.ThrottlingException{}, true},
		{&types.RequestLimitExceeded{}, true},
		{&types.IdempotentParameterMismatchException{}, false},
		{&types.ResourceNotFoundException{}, false},
		{errors.New("else"), false},
	} {
		err := conflictOf(registry.Key{}, test.err)
		if errors.Is(err, registry.ErrContended) != test.contended || !errors.Is(err, test.err) {
			t.Errorf("%T: %v", test.err, err)
		}
	}
}
