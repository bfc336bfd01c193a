package access_test

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"testing"

	"github.com/pierless/pierless/pkg/access"
)

func TestToken(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		token, sum := access.NewToken()
		h := sha256.Sum256([]byte(token))
		if !regexp.MustCompile(`^plr_[A-Za-z0-9_-]{43}[0-9a-z]{6}$`).MatchString(token) || sum != hex.EncodeToString(h[:]) || seen[token] {
			t.Fatalf("token %s with sum %s", token, sum)
		}
		seen[token] = true
		if !access.WellFormed(token) {
			t.Fatalf("%s is not well-formed", token)
		}
		for i := range len(token) {
			changed := []byte(token)
			changed[i] ^= 1
			if access.WellFormed(string(changed)) {
				t.Errorf("%s passes for %s", changed, token)
			}
		}
		for _, bad := range []string{"", "plr_", token[1:], token[:len(token)-1], token + "0", " " + token, token + "\n", "PLR" + token[3:]} {
			if access.WellFormed(bad) {
				t.Errorf("%q is well-formed", bad)
			}
		}
	}
}

// TestTokenForm: tokens that exist must stay valid when the code changes. The checksum was computed
// by another program.
func TestTokenForm(t *testing.T) {
	if !access.WellFormed("plr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAArj1v6t") {
		t.Error("the form of tokens has changed")
	}
}
