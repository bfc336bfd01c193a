package access

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// A token is tokenPrefix, 256 random bits in base64url, and the CRC-32 of the text before it in
// six digits of base 36. Scanners find leaked tokens by the prefix, and the checksum refuses
// mistyped and invented ones without a read.
const (
	tokenPrefix = "plr_"
	secretBytes = 32
	crcDigits   = 6
)

// NewToken returns a token and its SHA-256 in hexadecimal. With so many random bits one round of
// a fast hash cannot be reversed.
func NewToken() (token, sum string) {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // documented never to fail
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
	token += checksum(token)
	return token, Sum(token)
}

// Sum returns the SHA-256 of a token in hexadecimal, under which it is stored.
func Sum(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// WellFormed reports whether a secret has the form of a token, with the right checksum.
func WellFormed(secret string) bool {
	at := len(secret) - crcDigits
	return strings.HasPrefix(secret, tokenPrefix) && at == len(tokenPrefix)+base64.RawURLEncoding.EncodedLen(secretBytes) &&
		secret[at:] == checksum(secret[:at])
}

func checksum(text string) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	crc := crc32.ChecksumIEEE([]byte(text))
	b := make([]byte, crcDigits)
	for i := crcDigits - 1; i >= 0; i-- {
		b[i], crc = digits[crc%36], crc/36
	}
	return string(b) // 36^6 < 2^32: the highest bits are lost, which leaves 31 of them
}

// Token describes a token. The secret itself is stored nowhere.
type Token struct {
	ID      string    `json:"id"` // the first digits of its SHA-256
	Name    string    `json:"name"`
	Grants  Grants    `json:"grants"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Used    string    `json:"used,omitempty"`   // day of the last use, in UTC; "" if it was never used
	Note    string    `json:"note,omitempty"`
	By      string    `json:"by"`             // name of the caller who created it, or of the proven identity
	Rule    string    `json:"rule,omitempty"` // login rule that issued it; empty for a token of an administrator

	sum string // SHA-256 of the secret
}

// compareTokens sorts by name, then by age.
func compareTokens(a, b Token) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), a.Created.Compare(b.Created))
}

// idDigits is the length of Token.ID.
const idDigits = 12

// Lives reports whether the token has not expired at a time.
func (t Token) Lives(at time.Time) bool { return t.Expires.IsZero() || at.Before(t.Expires) }

// end returns when the token expires, and a time beyond maxLife if it never does.
func (t Token) end() time.Time {
	if t.Expires.IsZero() {
		return t.Created.Add(2 * maxLife)
	}
	return t.Expires
}

// tokenName is the grammar of names that administrators choose. Tokens of logins have names with
// a colon.
var tokenName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

// tokenID is the form of Token.ID. A name of this form could be taken for the id of another token.
var tokenID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// reserved are the names of callers without a row.
const (
	adminName     = "admin"
	anonymousName = "anonymous"
)

func checkTokenName(name string) error {
	// The log has the action instead of a name for callers whose permission is not a token.
	callers := []string{adminName, anonymousName, string(route.ByID), string(route.Proof)}
	if !tokenName.MatchString(name) || tokenID.MatchString(name) || slices.Contains(callers, name) {
		return errInvalid("%q is not a name for a token: use up to 64 lower-case letters, digits, '.', '_' and '-', but not an id and none of %s",
			name, strings.Join(callers, ", "))
	}
	return nil
}

// Limits of the fields of a token that callers choose.
const (
	maxNote = 256 // bytes
	maxLife = 100 * 365 * 24 * time.Hour
)

// errInvalid reports input that an administrator must correct.
func errInvalid(format string, args ...any) *oci.Error {
	return oci.NewError(oci.AccessInvalid, format, args...)
}
