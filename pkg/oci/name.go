package oci

import "strings"

const (
	// MaxNameLength is the longest repository name, in bytes. Clients limit
	// host and name together to 255 characters (spec, "Pulling manifests").
	MaxNameLength = 255
	// MaxTagLength is the longest tag, in bytes (spec, "Pulling manifests").
	MaxTagLength = 128

	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

// CheckName reports whether s is a repository name: components of lower case
// letters and digits, joined inside by one '.', one or two '_' or any number of
// '-', separated by '/' (spec, "Pulling manifests"). The error is NAME_INVALID.
func CheckName(s string) error {
	if s == "" {
		return NewError(NameInvalid, "the repository name is empty")
	}
	if len(s) > MaxNameLength {
		return NewError(NameInvalid, "the repository name has %d bytes, the limit is %d", len(s), MaxNameLength)
	}
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return NewError(NameInvalid, "repository name component %q must be lower case letters and digits, "+
				"joined by '.', '_', '__' or dashes", clip(component))
		}
	}
	return nil
}

// validComponent follows [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validComponent(s string) bool {
	for i := 0; i < len(s); {
		word := i
		for i < len(s) && isLowerAlnum(s[i]) {
			i++
		}
		if i == word || i == len(s) {
			return i > word
		}
		separator := i
		for i < len(s) && s[i] == s[separator] {
			i++
		}
		c, run := s[separator], i-separator
		if c != '-' && (c != '_' || run > 2) && (c != '.' || run > 1) {
			return false
		}
	}
	return false // empty, or a separator at the end
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// CheckTag reports whether s is a tag: a letter, digit or '_', then up to 127 of
// these, '.' and '-' (spec, "Pulling manifests"). The error is TAG_INVALID.
func CheckTag(s string) error {
	if s == "" {
		return NewError(TagInvalid, "the tag is empty")
	}
	if len(s) > MaxTagLength {
		return NewError(TagInvalid, "the tag has %d bytes, the limit is %d", len(s), MaxTagLength)
	}
	if s[0] == '.' || s[0] == '-' || strings.Trim(s, alphanumeric+"_.-") != "" {
		return NewError(TagInvalid, "tag %q must be letters, digits, '_', '.' and '-', not starting with '.' or '-'", clip(s))
	}
	return nil
}

// clip shortens untrusted text in an error.
func clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
