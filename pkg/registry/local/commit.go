package local

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pierless/pierless/pkg/registry"
)

// maxBatch is the number of calls that share a commit. It bounds the memory of
// one bbolt transaction.
const maxBatch = 512

// committer applies writes. All calls that arrive while one commit is being written to disk
// share the next one: a single writer waits for no timer, and a thousand writers do not
// sync a thousand times.
type committer struct {
	db     *bbolt.DB
	tokens tokens // only run uses it

	mu      sync.Mutex
	pending []*commit
	running bool
}

// commit is one call: its writes apply together or not at all.
type commit struct {
	token  string
	writes []registry.Write

	rows []registry.Row // as the writes leave them
	err  error
	done chan struct{}
}

func newCommitter(db *bbolt.DB) *committer { return &committer{db: db} }

// commit returns the resulting rows once they are durable.
func (c *committer) commit(token string, writes []registry.Write) ([]registry.Row, error) {
	call := &commit{token: token, writes: writes, done: make(chan struct{})}
	c.mu.Lock()
	c.pending = append(c.pending, call)
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	<-call.done
	return call.rows, call.err
}

// run commits until nothing is pending. At most one run is active.
func (c *committer) run() {
	for {
		c.mu.Lock()
		batch := c.pending[:min(len(c.pending), maxBatch)]
		c.pending = c.pending[len(batch):]
		if len(batch) == 0 {
			c.running, c.pending = false, nil
		}
		c.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		c.flush(batch)
	}
}

// errUnchanged rolls back a commit that has nothing to write, to spare the disk.
var errUnchanged = errors.New("nothing to commit")

// flush commits a batch and answers its calls. Even a conflict is answered only after the
// commit, because it may have read a row of another call of the batch.
func (c *committer) flush(batch []*commit) {
	now := time.Now()
	var applied []string
	err := c.db.Update(func(tx *bbolt.Tx) (err error) {
		applied, err = c.apply(tx.Bucket([]byte(rowsBucket)), batch, now)
		return err
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	if err != nil {
		c.tokens.forget(applied)
	}
	for _, call := range batch {
		if err != nil {
			call.rows, call.err = nil, fmt.Errorf("commit: %w", full(err))
		}
		close(call.done)
	}
}

// apply executes the calls in order, each on the rows that the earlier ones left, and
// returns the tokens of those that changed something.
func (c *committer) apply(rows *bbolt.Bucket, batch []*commit, now time.Time) (applied []string, err error) {
	changed := false
	for _, call := range batch {
		if c.tokens.has(call.token) {
			continue
		}
		var data [][]byte
		if data, call.err = call.prepare(rows); call.err != nil {
			continue
		}
		c.tokens.add(call.token, now)
		applied = append(applied, call.token)
		for i, w := range call.writes {
			wrote, err := store(rows, w, data[i])
			if err != nil {
				return applied, err
			}
			changed = changed || wrote
		}
	}
	if !changed {
		return applied, errUnchanged
	}
	return applied, expireRows(rows, now)
}

// prepare checks the conditions and encodes the resulting rows, nil for none. It changes
// nothing.
func (call *commit) prepare(rows *bbolt.Bucket) ([][]byte, error) {
	data := make([][]byte, len(call.writes))
	after := make([]registry.Row, len(call.writes))
	conflict := &registry.Conflict{Old: make([]*registry.Row, len(call.writes))}
	failed := false
	for i, w := range call.writes {
		old, err := decodeRow(rows.Get(rowKey(w.Key)))
		if err != nil {
			return nil, fmt.Errorf("row %q: %w", w.Key, err)
		}
		if !w.If.Holds(old) {
			conflict.Old[i] = &registry.Row{Key: w.Key, Attrs: old}
			failed = true
			continue
		}
		after[i] = registry.Row{Key: w.Key, Attrs: w.Apply(old)}
		if after[i].Attrs == nil || w.Op == registry.Check {
			continue
		}
		if data[i], err = encodeRow(w.Key, after[i].Attrs); err != nil {
			return nil, err
		}
	}
	if failed {
		return nil, conflict
	}
	call.rows = after
	return data, nil
}

// store writes a row that prepare has encoded.
func store(rows *bbolt.Bucket, w registry.Write, data []byte) (wrote bool, err error) {
	switch w.Op {
	case registry.Check:
		return false, nil
	case registry.Delete:
		return true, rows.Delete(rowKey(w.Key))
	case registry.Set, registry.Put:
	}
	if err := indexTTL(rows, w); err != nil {
		return false, err
	}
	return true, rows.Put(rowKey(w.Key), data)
}
