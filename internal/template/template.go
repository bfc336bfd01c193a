// Package template reads template.yaml for the tests that compare it with the code:
// as a tree of maps and lists, with intrinsic functions in their long form and
// nothing evaluated.
//
// It must not know the contents of the template. Only tests link it.
package template

import (
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Tree is a map of the template, or nil for a value that is not a map.
type Tree map[string]any

// Load reads a template. Scalars are strings: 29 and "29" are the same to
// CloudFormation.
func Load(path string) (Tree, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) != 1 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	root, ok := plain(doc.Content[0]).(Tree)
	if !ok {
		return nil, fmt.Errorf("%s is no map", path)
	}
	return root, nil
}

// Map returns the map at the end of the keys, or nil if there is none.
func (t Tree) Map(keys ...string) Tree {
	for _, key := range keys {
		t, _ = t[key].(Tree)
	}
	return t
}

// Text returns the scalar under the key, or "" if there is none.
func (t Tree) Text(key string) string {
	text, _ := t[key].(string)
	return text
}

// List returns the list under the key. A single value is a list of one, as in
// policies.
func (t Tree) List(key string) []any {
	switch v := t[key].(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// Texts returns the scalars of the list under the key.
func (t Tree) Texts(key string) []string {
	var texts []string
	for _, v := range t.List(key) {
		texts = append(texts, fmt.Sprint(v))
	}
	return texts
}

func plain(n *yaml.Node) any {
	var value any = n.Value
	switch n.Kind {
	case yaml.MappingNode:
		m := Tree{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		value = m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = plain(item)
		}
		value = list
	}
	name, short := strings.CutPrefix(n.Tag, "!")
	if !short || strings.HasPrefix(name, "!") {
		return value
	}
	if name == "Ref" || name == "Condition" {
		return Tree{name: value}
	}
	return Tree{"Fn::" + name: value} // GetAtt keeps its "Resource.Attribute"
}
