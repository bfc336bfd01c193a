package local

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry"
)

// pageBytes ends a page of a Query early, as DynamoDB does, so that tests find callers that
// expect full pages.
const pageBytes = 1 << 20

// rowsBucket holds all rows, by rowKey.
const rowsBucket = "rows"

// metadata is registry.Metadata on one bbolt file. Reads see the last commit.
type metadata struct {
	db        *bbolt.DB
	committer *committer
}

func newMetadata(db *bbolt.DB) *metadata { return &metadata{db: db, committer: newCommitter(db)} }

func (n *metadata) createBuckets() error {
	return n.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{rowsBucket, expiryBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// view runs a read on the rows, which must copy its results.
func (n *metadata) view(ctx context.Context, read func(rows *bbolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return n.db.View(func(tx *bbolt.Tx) error { return read(tx.Bucket([]byte(rowsBucket))) })
}

// Get implements registry.Metadata. Here the set is even a snapshot.
func (n *metadata) Get(ctx context.Context, keys ...registry.Key) ([]registry.Row, error) {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, err
		}
	}
	found := make([]registry.Row, len(keys))
	err := n.view(ctx, func(rows *bbolt.Bucket) error {
		for i, key := range keys {
			attrs, err := decodeRow(rows.Get(rowKey(key)))
			if err != nil {
				return fmt.Errorf("row %q: %w", key, err)
			}
			found[i] = registry.Row{Key: key, Attrs: attrs}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Query implements registry.Metadata.
func (n *metadata) Query(ctx context.Context, q registry.Query) (page registry.Page, err error) {
	if err := checkPK(q.PK); err != nil {
		return registry.Page{}, err
	}
	if q.Limit < 1 || q.Limit > registry.MaxPage {
		return registry.Page{}, fmt.Errorf("%w: limit %d, not from 1 to %d", errInvalid, q.Limit, registry.MaxPage)
	}
	err = n.view(ctx, func(rows *bbolt.Bucket) error {
		page, err = readPage(rows.Cursor(), q)
		return err
	})
	if err != nil {
		return registry.Page{}, err
	}
	return page, nil
}

func readPage(c *bbolt.Cursor, q registry.Query) (page registry.Page, err error) {
	prefix := []byte(q.PK + separator + q.Prefix)
	size := 0
	for key, data := seekAfter(c, q); bytes.HasPrefix(key, prefix); key, data = c.Next() {
		size += len(key) + len(data)
		if len(page.Rows) == q.Limit || len(page.Rows) > 0 && size > pageBytes {
			page.More = true
			break
		}
		row := registry.Row{Key: registry.Key{PK: q.PK, SK: sortKey(q.PK, key)}}
		if row.Attrs, err = decodeRow(data); err != nil {
			return page, fmt.Errorf("row %q: %w", row.Key, err)
		}
		page.Rows = append(page.Rows, row)
	}
	return page, nil
}

// seekAfter moves to the first row that can be in the answer: the first one with the prefix
// or, if After is behind that, the one that follows After.
func seekAfter(c *bbolt.Cursor, q registry.Query) (key, data []byte) {
	if q.After < q.Prefix || q.After == "" {
		return c.Seek([]byte(q.PK + separator + q.Prefix))
	}
	after := []byte(q.PK + separator + q.After)
	key, data = c.Seek(after)
	if bytes.Equal(key, after) {
		return c.Next()
	}
	return key, data
}

// Update implements registry.Metadata.
func (n *metadata) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	if w.Op == registry.Check {
		return registry.Row{}, fmt.Errorf("%w: a check alone changes nothing", errInvalid)
	}
	rows, err := n.write(ctx, "", w)
	if err != nil {
		return registry.Row{}, err
	}
	return rows[0], nil
}

// Transact implements registry.Metadata. Tokens are remembered in memory: an answer can
// only be lost together with the process, and its caller.
func (n *metadata) Transact(ctx context.Context, token string, writes ...registry.Write) error {
	if len(writes) == 0 || len(writes) > registry.MaxTransact || len(token) > maxToken {
		return fmt.Errorf("%w: %d writes with a token of %d bytes, at most %d and %d",
			errInvalid, len(writes), len(token), registry.MaxTransact, maxToken)
	}
	_, err := n.write(ctx, token, writes...)
	return err
}

// write checks everything that needs no rows and passes the rest to the committer. It waits
// for the answer even if ctx ends, because the committer reads the writes until then.
func (n *metadata) write(ctx context.Context, token string, writes ...registry.Write) ([]registry.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seen := make(map[registry.Key]bool, len(writes))
	for _, w := range writes {
		if err := checkWrite(w); err != nil {
			return nil, err
		}
		if seen[w.Key] {
			return nil, fmt.Errorf("%w: two writes to row %q", errInvalid, w.Key)
		}
		seen[w.Key] = true
	}
	return n.committer.commit(token, writes)
}

// checkWrite rejects writes that DynamoDB would reject for any row. The committer, which
// knows the row, checks its size.
func checkWrite(w registry.Write) error {
	if w.Op < registry.Set || w.Op > registry.Check {
		return fmt.Errorf("%w: operation %d", errInvalid, w.Op)
	}
	for name := range w.Add {
		if _, set := w.Attrs[name]; set {
			return fmt.Errorf("%w: attribute %q is changed twice", errInvalid, name)
		}
	}
	return checkKey(w.Key)
}
