package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/pierless/pierless/pkg/registry"
)

// Limits of rows, equal to those of DynamoDB.
const (
	maxPK    = 2048
	maxSK    = 1024
	maxRow   = 400 << 10
	maxToken = 36
)

// separator ends the partition key in a row's key. Because no partition key holds
// one, rows sort by partition and then by the bytes of the sort key, whatever
// these are.
const separator = "\x00"

// Kinds of values in an encoded row.
const (
	kindString = 's'
	kindInt    = 'n'
	kindBytes  = 'b'
)

// rowFormat is the first byte of an encoded row.
const rowFormat = 1

var (
	errInvalid = errors.New("invalid request")
	errCorrupt = errors.New("corrupt row")
)

func rowKey(k registry.Key) []byte { return []byte(k.PK + separator + k.SK) }

// sortKey returns the sort key in a row's key.
func sortKey(pk string, rowKey []byte) string { return string(rowKey[len(pk)+len(separator):]) }

func checkPK(pk string) error {
	if pk == "" || len(pk) > maxPK || strings.Contains(pk, separator) {
		return fmt.Errorf("%w: partition key of %d bytes, empty, over %d or with a NUL", errInvalid, len(pk), maxPK)
	}
	return nil
}

func checkKey(k registry.Key) error {
	if k.SK == "" || len(k.SK) > maxSK {
		return fmt.Errorf("%w: sort key of %d bytes, empty or over %d", errInvalid, len(k.SK), maxSK)
	}
	return checkPK(k.PK)
}

// rowSize counts a row as DynamoDB does: names and values in bytes, at most 11
// for a number of 19 digits.
func rowSize(k registry.Key, attrs registry.Attrs) int {
	size := len("pk") + len(k.PK) + len("sk") + len(k.SK)
	for name, value := range attrs {
		size += len(name)
		switch v := value.(type) {
		case string:
			size += len(v)
		case []byte:
			size += len(v)
		default:
			size += 11
		}
	}
	return size
}

// encodeRow is the inverse of decodeRow: the format byte, then for each attribute its name,
// kind and value, with lengths before names, strings and bytes.
func encodeRow(k registry.Key, attrs registry.Attrs) ([]byte, error) {
	size := rowSize(k, attrs)
	if size > maxRow {
		return nil, fmt.Errorf("%w: row of %d bytes, at most %d", errInvalid, size, maxRow)
	}
	data := append(make([]byte, 0, size+8*len(attrs)), rowFormat)
	for name, value := range attrs {
		data = appendText(data, name)
		switch v := value.(type) {
		case string:
			data = appendText(append(data, kindString), v)
		case int64:
			data = binary.AppendVarint(append(data, kindInt), v)
		case []byte:
			data = appendText(append(data, kindBytes), v)
		default:
			return nil, fmt.Errorf("%w: attribute %q is a %T", errInvalid, name, value)
		}
	}
	return data, nil
}

func appendText[T string | []byte](data []byte, text T) []byte {
	return append(binary.AppendUvarint(data, uint64(len(text))), text...)
}

// decodeRow copies an encoded row; nil is no row.
func decodeRow(data []byte) (registry.Attrs, error) {
	if data == nil {
		return nil, nil //nolint:nilnil // no row is an answer, not a fault
	}
	if len(data) == 0 || data[0] != rowFormat {
		return nil, fmt.Errorf("%w: unknown format", errCorrupt)
	}
	attrs := registry.Attrs{}
	for data = data[1:]; len(data) > 0; {
		name, rest, ok := cutText(data)
		if !ok || len(rest) == 0 {
			return nil, fmt.Errorf("%w: cut off in a name", errCorrupt)
		}
		value, rest, ok := cutValue(rest[0], rest[1:])
		if !ok {
			return nil, fmt.Errorf("%w: no value of %q", errCorrupt, name)
		}
		attrs[string(name)] = value
		data = rest
	}
	return attrs, nil
}

func cutValue(kind byte, data []byte) (value any, rest []byte, ok bool) {
	if kind == kindInt {
		n, size := binary.Varint(data)
		if size <= 0 {
			return nil, nil, false
		}
		return n, data[size:], true
	}
	text, rest, ok := cutText(data)
	switch {
	case ok && kind == kindString:
		return string(text), rest, true
	case ok && kind == kindBytes:
		return append([]byte{}, text...), rest, true
	}
	return nil, nil, false
}

func cutText(data []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return nil, nil, false
	}
	end := size + int(n)
	return data[size:end], data[end:], true
}
