package s3blobs

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func tag(n int) string { return fmt.Sprintf(`"%032x"`, n) }

func states() []state {
	speculative := part{number: 9, etag: tag(9)}
	return []state{
		{},
		{tail: tail{nonce: "n", size: 17}},
		{upload: "u", slot: 1 << 40, base: 3, parts: []part{{1, tag(1)}}},
		{upload: "u", slot: -1, parts: []part{{1, tag(1)}, {2, tag(2)}, {7, tag(7)}, {8, "odd"}, {9, `"odd"`}, {10, tag(10)}}},
		{
			upload: strings.Repeat("u", maxText), base: lastNumber, parts: []part{{lastNumber, tag(1)}},
			tail: tail{nonce: "n", size: minPart - 1, part: &speculative},
		},
		{upload: "u", tail: tail{nonce: "n", size: 1, part: &part{number: 1, etag: strings.ToUpper(tag(0xabcdef))}}},
	}
}

func TestStatesComeBack(t *testing.T) {
	for _, s := range states() {
		encoded := s.encode()
		back, err := decodeState(encoded)
		if err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%+v came back as %+v, %v", s, back, err)
		}
		for cut := 1; cut < min(len(encoded), 200); cut++ {
			if back, err := decodeState(encoded[:len(encoded)-cut]); err == nil && len(encoded) != cut {
				t.Errorf("%+v without %d bytes came back as %+v", s, cut, back)
			}
		}
		if len(encoded) > 0 {
			if _, err := decodeState(append(encoded, 0)); err == nil {
				t.Errorf("%+v with a byte more came back", s)
			}
		}
	}
	if (state{}).encode() != nil {
		t.Error("the zero state is not nil")
	}
}

func TestStateIsSmall(t *testing.T) {
	s := state{upload: strings.Repeat("u", 130)}
	for i := range lastNumber {
		s.parts = append(s.parts, part{number: i + 1, etag: tag(i)})
	}
	encoded := s.encode()
	if len(encoded) > 161_000 {
		t.Errorf("%d bytes", len(encoded))
	}
	if back, err := decodeState(encoded); err != nil || !reflect.DeepEqual(s, back) {
		t.Errorf("it does not come back: %v", err)
	}
}

func FuzzDecodeState(f *testing.F) {
	for _, s := range states() {
		f.Add(s.encode())
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		s, err := decodeState(encoded)
		if err != nil {
			return
		}
		before := 0
		for _, p := range s.parts {
			if p.number <= before || p.number > lastNumber {
				t.Fatalf("part %d after %d", p.number, before)
			}
			before = p.number
		}
		again, err := decodeState(s.encode())
		if err != nil || !bytes.Equal(again.encode(), s.encode()) {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
