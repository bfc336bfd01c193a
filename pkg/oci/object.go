package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// decodeObject reads the named fields of a JSON object into the places that fields
// points at, and skips all others. Names are taken exactly, and none twice:
// encoding/json takes "LAYERS" for "layers" and the last of two, so that what a
// client pulls by a manifest and what the registry keeps for it could differ.
func decodeObject(content []byte, fields map[string]any) error {
	if !json.Valid(content) {
		return json.Unmarshal(content, &json.RawMessage{}) // for its error, which says where
	}
	d := json.NewDecoder(bytes.NewReader(content))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("it is not an object")
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
			return fmt.Errorf("the field %q is there twice", name)
		}
		seen[name] = wanted
		if err := d.Decode(place); err != nil {
			return fmt.Errorf("the field %q: %w", clip(name), err)
		}
	}
	return nil
}
