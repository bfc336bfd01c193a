package access

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// The rows of access. Tokens share a partition, so that one Query lists them. The day of a
// token's last use is a row of another partition: functions that only check tokens have no
// permission to write the first one.
const (
	tokenPartition    = "A#T" // sort key: SHA-256 of the token
	usedPartition     = "A#U" // sort key: SHA-256 of the token
	settingsPartition = "A#S"
	logPartition      = "A#L" // sort key: time and nonce
	proofPartition    = "A#P" // sort key: hash of a proof that has been used
)

// Attributes of the rows.
const (
	attrContent = "b"   // the entry as JSON
	attrDay     = "y"   // of the last use, in days since 1970
	attrTTL     = "ttl" // time in seconds since 1970 after which DynamoDB deletes the row
)

// How long rows stay after they have lost their meaning.
const (
	keepExpired = 7 * 24 * time.Hour   // an expired token of an administrator, for the list
	keepLog     = 400 * 24 * time.Hour // an entry of the log
)

func tokenKey(sum string) registry.Key { return registry.Key{PK: tokenPartition, SK: sum} }

func usedKey(sum string) registry.Key { return registry.Key{PK: usedPartition, SK: sum} }

func settingsKey() registry.Key { return registry.Key{PK: settingsPartition, SK: "S"} }

func proofKey(hash string) registry.Key { return registry.Key{PK: proofPartition, SK: hash} }

func logKey(e Entry, nonce string) registry.Key {
	return registry.Key{PK: logPartition, SK: fmt.Sprintf("%015d#%s", e.Time.UnixMilli(), nonce)}
}

// content encodes an entry. It may live until a time; zero means forever.
func content(entry any, until time.Time) (registry.Attrs, error) {
	b, err := json.Marshal(entry)
	if err != nil {
		return nil, fmt.Errorf("encode access row: %w", err)
	}
	attrs := registry.Attrs{attrContent: b}
	if !until.IsZero() {
		attrs[attrTTL] = until.Unix()
	}
	return attrs, nil
}

// decode reads the entry of a row; found is false if the row does not exist.
func decode[T any](row registry.Row) (entry T, found bool, err error) {
	if row.Attrs == nil {
		return entry, false, nil
	}
	b, _ := row.Attrs[attrContent].([]byte)
	if err := json.Unmarshal(b, &entry); err != nil {
		return entry, false, fmt.Errorf("decode access row of %s: %w", row.Key.PK, err)
	}
	return entry, true, nil
}

// tokenOf decodes the row of a token.
func tokenOf(row registry.Row) (t Token, found bool, err error) {
	t, found, err = decode[Token](row)
	t.sum = row.Key.SK
	t.ID = row.Key.SK[:min(idDigits, len(row.Key.SK))]
	return t, found, err
}

const secondsPerDay = 24 * 60 * 60

func dayOf(t time.Time) int64 { return t.Unix() / secondsPerDay }

func dayText(day int64) string { return time.Unix(day*secondsPerDay, 0).UTC().Format(time.DateOnly) }
