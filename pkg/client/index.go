package client

import (
	"encoding/json"
	"fmt"

	"github.com/pierless/pierless/pkg/oci"
)

// IndexEntry is an entry of an image index. EditIndex keeps an existing one byte for byte.
type IndexEntry struct {
	oci.Descriptor
	raw json.RawMessage // nil: new
}

// EditIndex returns an image index with the entries that edit returns. It keeps the fields and
// entries of other writers byte for byte, malformed entries too; edit sees those without a
// digest.
func EditIndex(content []byte, edit func([]IndexEntry) []IndexEntry) ([]byte, error) {
	var index map[string]json.RawMessage
	var raw []json.RawMessage
	if err := json.Unmarshal(content, &index); err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	if index == nil { // null
		index = map[string]json.RawMessage{}
	}
	if have := index["manifests"]; have != nil {
		if err := json.Unmarshal(have, &raw); err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
	}
	entries := make([]IndexEntry, len(raw))
	for i := range raw {
		if json.Unmarshal(raw[i], &entries[i].Descriptor) != nil {
			entries[i].Descriptor = oci.Descriptor{}
		}
		entries[i].raw = raw[i]
	}
	raw = []json.RawMessage{}
	for _, e := range edit(entries) {
		if e.raw == nil {
			var err error
			if e.raw, err = json.Marshal(e.Descriptor); err != nil {
				return nil, err
			}
		}
		raw = append(raw, e.raw)
	}
	var err error
	if index["manifests"], err = json.Marshal(raw); err != nil {
		return nil, err
	}
	index["schemaVersion"] = json.RawMessage("2")
	index["mediaType"] = json.RawMessage(`"` + oci.MediaTypeImageIndex + `"`)
	return json.Marshal(index)
}
