package local

import "time"

const (
	// tokenLife is how long the token of an applied transaction is remembered.
	tokenLife = 10 * time.Minute
	// maxTokens bounds the memory of one generation of tokens, about 10 MB. At
	// over 200 transactions a second a token is forgotten earlier; it then still
	// outlives the retries of its transaction by minutes.
	maxTokens = 1 << 17
)

// tokens are those of the transactions that were applied, in two generations:
// when the young one is full of years, it takes the place of the old one.
type tokens struct {
	young, old map[string]struct{}
	born       time.Time
}

// has says whether a token was added. The empty token is none.
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

// forget takes back what a commit that failed has added.
func (t *tokens) forget(added []string) {
	for _, token := range added {
		delete(t.young, token)
		delete(t.old, token)
	}
}
