package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// decodeObject decodes the named fields of a JSON object into the pointers in fields, and
// skips all others. Names must match exactly and may not repeat: encoding/json accepts
// "LAYERS" for "layers" and the last of two, so that the registry could keep other content
// than clients pull.
func decodeObject(content []byte, fields map[string]any) error {
	if !json.Valid(content) {
		return json.Unmarshal(content, &json.RawMessage{}) // for its error, which has the offset
	}
	d := json.NewDecoder(bytes.NewReader(content))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("the JSON is not an object")
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		place, wanted := fields[name]
		if !wanted {
			place = &json.RawMessage{}
		} else if seen[name] {
			return fmt.Errorf("the field %q occurs twice", name)
		}
		seen[name] = wanted
		if err := d.Decode(place); err != nil {
			return fmt.Errorf("the field %q: %w", clip(name), err)
		}
	}
	return nil
}
