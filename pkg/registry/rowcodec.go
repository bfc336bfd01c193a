package registry

import (
	"encoding/hex"
	"reflect"

	"github.com/pierless/pierless/pkg/oci"
)

// encode returns the attributes of a row struct. It leaves out zero values, which decode
// restores, so a struct with few fields set is also the change of those fields alone; and
// the version, which every write sets anew.
func encode(row any) Attrs {
	attrs := Attrs{}
	eachField(reflect.ValueOf(row), func(name string, field reflect.Value) {
		if field.IsZero() || name == attrVersion {
			return
		}
		switch field.Kind() {
		case reflect.String:
			attrs[name] = field.String()
		case reflect.Int64:
			attrs[name] = field.Int()
		case reflect.Bool:
			attrs[name] = int64(1)
		default:
			attrs[name] = field.Bytes()
		}
	})
	return attrs
}

// decode is the inverse of encode. Attributes that are missing, or of another type, are
// zero values; nil Attrs, no row, are the zero T.
func decode[T any](attrs Attrs) (row T) {
	eachField(reflect.ValueOf(&row).Elem(), func(name string, field reflect.Value) {
		switch value := attrs[name].(type) {
		case string:
			if field.Kind() == reflect.String {
				field.SetString(value)
			}
		case []byte:
			if field.Kind() == reflect.Slice {
				field.SetBytes(value)
			}
		case int64:
			if field.CanInt() {
				field.SetInt(value)
			} else if field.Kind() == reflect.Bool {
				field.SetBool(value == 1)
			}
		}
	})
	return row
}

// eachField visits the fields of a row struct, and of those embedded in it, under the
// names of their attributes.
func eachField(row reflect.Value, visit func(name string, field reflect.Value)) {
	for i := range row.NumField() {
		if field := row.Type().Field(i); field.Anonymous {
			eachField(row.Field(i), visit)
		} else {
			visit(field.Tag.Get("row"), row.Field(i))
		}
	}
}

// packDigests is the form of manifestRow.Refs: per digest one byte for the algorithm, then
// the raw sum. 10,000 sha256 digests take 330 KB, under DynamoDB's 400 KB an item.
func packDigests(ds []oci.Digest) []byte {
	var packed []byte
	for _, d := range ds {
		raw, err := hex.DecodeString(d.Encoded())
		if err != nil {
			panic("registry: unchecked digest " + string(d))
		}
		packed = append(packed, d.Algorithm()[3])
		packed = append(packed, raw...)
	}
	return packed
}
