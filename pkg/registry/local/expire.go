package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry"
)

// DynamoDB deletes a row some time after the time in its attribute "ttl", in seconds since 1970.
// Here each commit deletes some such rows. It finds them by an index, sorted by that time.
const (
	attrTTL       = "ttl"
	expiryBucket  = "ttl"
	maxExpired    = 100 // rows that one commit deletes
	expiryKeySize = 8   // bytes of the time in a key of the index; the row's key follows
)

// indexTTL adds a row to the index if the write gives it a time to live.
func indexTTL(rows *bbolt.Bucket, w registry.Write) error {
	ttl, found := w.Attrs[attrTTL].(int64)
	if !found || w.Op == registry.Check || w.Op == registry.Delete {
		return nil
	}
	key := binary.BigEndian.AppendUint64(nil, uint64(max(ttl, 0)))
	return rows.Tx().Bucket([]byte(expiryBucket)).Put(append(key, rowKey(w.Key)...), nil)
}

// expireRows deletes rows whose time to live is over. A row that a later write has changed stays
// until the time in that write, or for ever without one.
func expireRows(rows *bbolt.Bucket, now time.Time) error {
	index := rows.Tx().Bucket([]byte(expiryBucket))
	end := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	c := index.Cursor()
	var over [][]byte
	for entry, _ := c.First(); entry != nil && len(over) < maxExpired && bytes.Compare(entry[:expiryKeySize], end) < 0; entry, _ = c.Next() {
		over = append(over, bytes.Clone(entry))
	}
	for _, entry := range over {
		key := entry[expiryKeySize:]
		attrs, err := decodeRow(rows.Get(key))
		if err != nil {
			return fmt.Errorf("row %q: %w", key, err)
		}
		if ttl, found := attrs[attrTTL].(int64); found && ttl < now.Unix() {
			if err := rows.Delete(key); err != nil {
				return err
			}
		}
		if err := index.Delete(entry); err != nil {
			return err
		}
	}
	return nil
}
