package registry

import (
	"reflect"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// The tests read attributes by name, as another version of the code would.

func (a Attrs) number(name string) int64 {
	n, _ := a[name].(int64)
	return n
}

func (a Attrs) bytes(name string) []byte {
	b, _ := a[name].([]byte)
	return b
}

func (a Attrs) digest(name string) oci.Digest { return oci.Digest(a.text(name)) }

// rowKinds are all structs of rows.go.
var rowKinds = []any{
	tagRow{},
	manifestRow{},
	contentRow{},
	referrerRow{},
	blobRow{},
	linkRow{},
	objectRow{},
	uploadRow{},
	directRow{},
	repositoryRow{},
	reviewRow{},
	expiryRow{},
}

// TestAttributesMeanOneThing compares the attribute of a field name in all kinds of rows,
// and the names that conditions use.
func TestAttributesMeanOneThing(t *testing.T) {
	fieldOf := map[string]string{}
	for _, kind := range rowKinds {
		inRow := map[string]bool{}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(kind)) {
			if field.Anonymous {
				continue
			}
			name := field.Tag.Get("row")
			if name == "" || inRow[name] {
				t.Errorf("%T.%s has no attribute, or another field's: %q", kind, field.Name, name)
			}
			inRow[name] = true
			if other := fieldOf[name]; other != "" && other != field.Name {
				t.Errorf("attribute %q is %s and %s", name, other, field.Name)
			}
			fieldOf[name] = field.Name
		}
	}
	for name, field := range map[string]string{
		attrVersion: "Version", attrState: "State", attrRenewed: "Renewed", attrDigest: "Digest", attrKey: "Key",
		attrMediaType: "MediaType", attrRepo: "Repo", attrExpires: "Expires", attrHashed: "Hashed", attrStored: "Stored",
		attrNextPart: "NextPart", attrComplete: "Complete", attrLease: "Lease", attrSHA256: "", attrSHA512: "",
	} {
		if fieldOf[name] != field {
			t.Errorf("attribute %q is %q, not %q", name, fieldOf[name], field)
		}
	}
}

// TestRowsSurviveTheTable encodes and decodes a row of each kind of field.
func TestRowsSurviveTheTable(t *testing.T) {
	row := directRow{
		objectRow: objectRow{State: objectOpen, Repo: "r", Size: 1 << 60, Stored: []byte{0}, Complete: true},
		Offered:   "sha256:0", Lease: -1,
	}
	attrs := encode(row)
	if want := (Attrs{"s": "open", "r": "r", "z": int64(1 << 60), "u": []byte{0}, "a": int64(1), "e": "sha256:0", "l": int64(-1)}); !reflect.DeepEqual(attrs, want) {
		t.Errorf("encoded %v, want %v", attrs, want)
	}
	if got := decode[directRow](attrs); !reflect.DeepEqual(got, row) {
		t.Errorf("decoded %+v, want %+v", got, row)
	}
	if got := encode(tagRow{Version: "nonce"}); len(got) != 0 {
		t.Errorf("a write would keep the version of the row that it replaces: %v", got)
	}
	for _, attrs := range []Attrs{nil, {"s": int64(1), "z": "1", "a": "1", "u": "1"}, {"r": []byte("r"), "x": []byte{1}}} {
		if got := decode[directRow](attrs); !reflect.DeepEqual(got, directRow{}) {
			t.Errorf("decoded %+v from %v", got, attrs)
		}
	}
}
