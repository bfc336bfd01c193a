package s3blobs

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// state is the input of the next Append and of Complete.
type state struct {
	upload string // id of the multipart upload; "" without one
	slot   int64  // see numbers
	base   int    // see numbers
	parts  []part // in the order of the content, numbers ascending
	tail   tail
}

// tail is the end of the content, too short for a part. The zero tail is none.
type tail struct {
	nonce string // of the claim that wrote it
	size  int    // bytes, below minPart
	part  *part  // the same bytes as a part that only Complete may use
}

type part struct {
	number int
	etag   string // as S3 gave it, with its quotes
}

const (
	stateVersion = 1
	// maxText bounds upload ids, nonces and ETags in bytes.
	maxText = 4096
	// rawTag is the length of the usual ETag: a quoted MD5 in hexadecimal digits.
	rawTag = 16
)

var errState = errors.New("s3blobs: the recorded state of an upload cannot be read")

// encode returns nothing for the zero state. It takes 16 bytes for a part: 160 KB for the
// 10,000 parts that an upload can have.
//
//	version, upload; with an upload: slot, base, parts; nonce; with a nonce: size, parts (0 or 1)
//	text: length, bytes
//	parts: number of runs; a run is: gap to the number before, length, 1 if ETags are raw, ETags
func (s state) encode() []byte {
	if s.upload == "" && s.tail.nonce == "" {
		return nil
	}
	out := appendText([]byte{stateVersion}, s.upload)
	if s.upload != "" {
		out = binary.AppendVarint(out, s.slot)
		out = binary.AppendUvarint(out, uint64(s.base)) // never negative
		out = appendParts(out, s.parts)
	}
	out = appendText(out, s.tail.nonce)
	if s.tail.nonce != "" {
		out = binary.AppendUvarint(out, uint64(s.tail.size)) // never negative
		var speculative []part
		if s.tail.part != nil {
			speculative = []part{*s.tail.part}
		}
		out = appendParts(out, speculative)
	}
	return out
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

func appendParts(out []byte, parts []part) []byte {
	var runs [][]part
	for from, i := 0, 1; i <= len(parts); i++ {
		if i < len(parts) && parts[i].number == parts[i-1].number+1 && isRaw(parts[i].etag) == isRaw(parts[from].etag) {
			continue
		}
		runs, from = append(runs, parts[from:i]), i
	}
	out = binary.AppendUvarint(out, uint64(len(runs)))
	before := 0
	for _, run := range runs {
		raw := isRaw(run[0].etag)
		out = binary.AppendUvarint(out, uint64(run[0].number-before)) // numbers ascend
		out = binary.AppendUvarint(out, uint64(len(run)))
		out = binary.AppendUvarint(out, map[bool]uint64{true: 1}[raw])
		for _, p := range run {
			if raw {
				tag, _ := hex.DecodeString(p.etag[1 : len(p.etag)-1])
				out = append(out, tag...)
			} else {
				out = appendText(out, p.etag)
			}
		}
		before = run[len(run)-1].number
	}
	return out
}

// isRaw reports whether an ETag can be restored from its 16 bytes.
func isRaw(etag string) bool {
	return len(etag) == 2*rawTag+2 && etag[0] == '"' && etag[len(etag)-1] == '"' &&
		strings.Trim(etag[1:len(etag)-1], "0123456789abcdef") == ""
}

// decodeState is the inverse of encode. Any other input is an error, never a panic and
// never more than lastNumber parts.
func decodeState(encoded []byte) (state, error) {
	if len(encoded) == 0 {
		return state{}, nil
	}
	d := decoder{left: encoded[1:], failed: encoded[0] != stateVersion}
	var s state
	if s.upload = d.text(); s.upload != "" {
		s.slot = d.varint()
		s.base = d.number(lastNumber)
		s.parts = d.parts()
	}
	if s.tail.nonce = d.text(); s.tail.nonce != "" {
		s.tail.size = d.number(minPart)
		switch speculative := d.parts(); len(speculative) {
		case 0:
		case 1:
			s.tail.part = &speculative[0]
		default:
			d.failed = true
		}
	}
	if d.failed || len(d.left) > 0 {
		return state{}, fmt.Errorf("%w: %d bytes of version %d", errState, len(encoded), encoded[0])
	}
	return s, nil
}

// decoder reads from the front. After the first failure it returns zeroes.
type decoder struct {
	left   []byte
	failed bool
}

func (d *decoder) number(limit int) int {
	n, length := binary.Uvarint(d.left)
	if d.failed || length <= 0 || n > uint64(limit) { // limits are constants
		d.failed = true
		return 0
	}
	d.left = d.left[length:]
	return int(n) // at most limit
}

func (d *decoder) varint() int64 {
	n, length := binary.Varint(d.left)
	if d.failed || length <= 0 {
		d.failed = true
		return 0
	}
	d.left = d.left[length:]
	return n
}

func (d *decoder) bytes(length int) []byte {
	if d.failed || length > len(d.left) {
		d.failed = true
		return nil
	}
	b := d.left[:length]
	d.left = d.left[length:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.number(maxText))) }

func (d *decoder) parts() []part {
	var parts []part
	number := 0
	for runs := d.number(lastNumber); runs > 0 && !d.failed; runs-- {
		gap, length, raw := d.number(lastNumber), d.number(lastNumber), d.number(1) == 1
		if gap < 1 || length < 1 || number+gap+length-1 > lastNumber {
			d.failed = true
		}
		number += gap - 1
		for ; length > 0 && !d.failed; length-- {
			number++
			etag := ""
			if raw {
				etag = `"` + hex.EncodeToString(d.bytes(rawTag)) + `"`
			} else {
				etag = d.text()
			}
			parts = append(parts, part{number: number, etag: etag})
		}
	}
	return parts
}
