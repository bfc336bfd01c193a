package ddbmeta

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/pierless/pierless/pkg/registry"
)

const (
	attrPK = "pk"
	attrSK = "sk"
)

var errNotUTF8 = errors.New("ddbmeta: a string is not UTF-8")

func encodeKey(key registry.Key) (map[string]types.AttributeValue, error) {
	if !utf8.ValidString(key.PK) || !utf8.ValidString(key.SK) {
		return nil, errNotUTF8
	}
	return map[string]types.AttributeValue{
		attrPK: &types.AttributeValueMemberS{Value: key.PK},
		attrSK: &types.AttributeValueMemberS{Value: key.SK},
	}, nil
}

// encode rejects values that would not survive: the SDK's JSON silently replaces bytes that
// are not UTF-8.
func encode(value any) (types.AttributeValue, error) {
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return nil, errNotUTF8
		}
		return &types.AttributeValueMemberS{Value: v}, nil
	case int64:
		return &types.AttributeValueMemberN{Value: strconv.FormatInt(v, 10)}, nil
	case []byte:
		if v == nil { // the SDK would send null
			v = []byte{}
		}
		return &types.AttributeValueMemberB{Value: v}, nil
	}
	return nil, fmt.Errorf("ddbmeta: a value is %T, not string, int64 or []byte", value)
}

func decode(value types.AttributeValue) (any, error) {
	switch v := value.(type) {
	case *types.AttributeValueMemberS:
		return v.Value, nil
	case *types.AttributeValueMemberN:
		return strconv.ParseInt(v.Value, 10, 64)
	case *types.AttributeValueMemberB:
		if v.Value == nil {
			return []byte{}, nil
		}
		return v.Value, nil
	}
	return nil, fmt.Errorf("ddbmeta: an attribute is %T, not S, N or B", value)
}

// encodeRow returns the item of a whole row.
func encodeRow(key registry.Key, attrs registry.Attrs) (map[string]types.AttributeValue, error) {
	item, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	for name, value := range attrs {
		if name == attrPK || name == attrSK {
			return nil, fmt.Errorf("ddbmeta: an attribute has the name of a key, %s", name)
		}
		if item[name], err = encode(value); err != nil {
			return nil, err
		}
	}
	return item, nil
}

// decodeRow reads an existing item with its key.
func decodeRow(item map[string]types.AttributeValue) (registry.Row, error) {
	row := registry.Row{Attrs: make(registry.Attrs, len(item))}
	for name, encoded := range item {
		value, err := decode(encoded)
		if err != nil {
			return registry.Row{}, err
		}
		switch name {
		case attrPK:
			row.Key.PK, _ = value.(string)
		case attrSK:
			row.Key.SK, _ = value.(string)
		default:
			row.Attrs[name] = value
		}
	}
	return row, nil
}

// decodeFound reads an item that is empty if the row does not exist.
func decodeFound(key registry.Key, item map[string]types.AttributeValue) (registry.Row, error) {
	if len(item) == 0 {
		return registry.Row{Key: key}, nil
	}
	return decodeRow(item)
}
