package lambdahttp

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// cutBody splits an event into the body and the event with an empty body. It finds a body
// that is a top-level string without escapes, as base64 is. It does not fully parse the
// JSON: rest must still be parsed.
func cutBody(payload []byte) (rest []byte, body string, found bool) {
	depth, key, start, end := 0, "", 0, 0
	for i := 0; i < len(payload); i++ {
		switch payload[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			length, plain := scanString(payload[i+1:])
			if length < 0 {
				return nil, "", false
			}
			from, to := i+1, i+1+length
			i = to
			if depth != 1 {
				continue
			}
			if isKey(payload[to+1:]) {
				if key = string(payload[from:to]); !plain || bytes.EqualFold(payload[from:to], []byte("body")) && (key != "body" || end > 0) {
					return nil, "", false // with escapes, in another case, or repeated
				}
			} else if key == "body" {
				if !plain {
					return nil, "", false
				}
				start, end = from, to
			}
		}
	}
	if end == 0 {
		return nil, "", false
	}
	return slices.Concat(payload[:start], payload[end:]), string(payload[start:end]), true
}

// scanString returns the length of a JSON string up to its closing quote, and whether its
// bytes are its value. The length is negative if the string is not closed.
func scanString(s []byte) (length int, plain bool) {
	if end := bytes.IndexByte(s, '"'); end >= 0 && isPlain(s[:end]) {
		return end, true
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++ // an escaped quote does not close the string
		case '"':
			return i, false
		}
	}
	return -1, false
}

// isPlain reports whether s is ASCII without escapes and without control characters, which
// JSON strings must not contain.
func isPlain(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c >= utf8.RuneSelf {
			return false
		}
	}
	return bytes.IndexByte(s, '\\') < 0
}

// isKey reports whether a colon follows a string, which is then a key.
func isKey(s []byte) bool {
	s = bytes.TrimLeft(s, " \t\r\n")
	return len(s) > 0 && s[0] == ':'
}
