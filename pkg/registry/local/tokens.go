package local

import "time"

const (
	// tokenLife is how long the token of an applied transaction is remembered.
	tokenLife = 10 * time.Minute
	// maxTokens bounds the memory of one generation of tokens, about 10 MB. At over 200
	// transactions a second a token is forgotten earlier, but still minutes after the
	// retries of its transaction.
	maxTokens = 1 << 17
)

// tokens are those of applied transactions, in two generations: when the young one is full
// or old enough, it replaces the old one.
type tokens struct {
	young, old map[string]struct{}
	born       time.Time
}

// has reports whether a token was added. The empty token never is.
func (t *tokens) has(token string) bool {
	_, young := t.young[token]
	_, old := t.old[token]
	return young || old
}

func (t *tokens) add(token string, now time.Time) {
	if token == "" {
		return
	}
	if t.young == nil || now.Sub(t.born) > tokenLife || len(t.young) >= maxTokens {
		t.young, t.old, t.born = map[string]struct{}{}, t.young, now
	}
	t.young[token] = struct{}{}
}

// forget removes the tokens of a failed commit.
func (t *tokens) forget(added []string) {
	for _, token := range added {
		delete(t.young, token)
		delete(t.old, token)
	}
}
