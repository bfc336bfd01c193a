package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"
)

// The world of the simulation: both ports in memory, policing the contract. Each
// call runs when the scheduler says so, alone, and may be made to fail there.

type world struct {
	rows    map[Key]Attrs
	tokens  map[string]bool
	content map[string][]byte         // completed keys
	pieces  map[string][]byte         // appended, by key and claim
	written map[string][]byte         // what a key once held: written once means once
	slots   map[string]Claim          // part numbers given out, by key and claim
	uploads map[string]map[int][]byte // parts that clients sent
	summed  map[string]bool           // keys whose digest the store has computed
	blind   bool                      // it computes none
	encoded map[string]bool           // keys whose content was sent with a Content-Encoding
	lost    map[string]bool           // keys whose content was deleted or damaged behind the registry's back
	now     func() time.Time
	fault   func(format string, args ...any)
}

func newWorld(fault func(string, ...any)) *world {
	return &world{
		rows: map[Key]Attrs{}, tokens: map[string]bool{}, content: map[string][]byte{},
		pieces: map[string][]byte{}, written: map[string][]byte{}, slots: map[string]Claim{},
		uploads: map[string]map[int][]byte{}, summed: map[string]bool{}, encoded: map[string]bool{},
		lost: map[string]bool{}, fault: fault,
	}
}

// apply checks the conditions and applies all writes or none.
func (w *world) apply(writes []Write) error {
	conflict := &Conflict{Old: make([]*Row, len(writes))}
	failed := false
	seen := map[Key]bool{}
	for i, wr := range writes {
		if seen[wr.Key] {
			w.fault("two writes of one transaction meet on %v", wr.Key)
		}
		seen[wr.Key] = true
		if old := w.rows[wr.Key]; !wr.If.Holds(old) {
			conflict.Old[i], failed = &Row{Key: wr.Key, Attrs: old}, true
		}
	}
	if failed {
		return conflict
	}
	if len(writes) > MaxTransact {
		w.fault("%d writes in one transaction", len(writes))
	}
	for _, wr := range writes {
		w.checkReplaced(wr)
		attrs := wr.Apply(w.rows[wr.Key])
		if attrs == nil {
			delete(w.rows, wr.Key)
			continue
		}
		if size := rowSize(wr.Key, attrs); size > maxRow {
			w.fault("row %.40v of %d bytes", wr.Key, size)
		}
		w.rows[wr.Key] = attrs
	}
	return nil
}

// maxRow is DynamoDB's limit of an item, in bytes.
const maxRow = 400 << 10

func rowSize(key Key, attrs Attrs) int {
	size := len("pk") + len(key.PK) + len("sk") + len(key.SK)
	for name, value := range attrs {
		size += len(name)
		switch v := value.(type) {
		case string:
			size += len(v)
		case []byte:
			size += len(v)
		default:
			size += 21 // the most that a number takes
		}
	}
	return size
}

// checkReplaced holds that no name is taken from an object that is as it was.
func (w *world) checkReplaced(wr Write) {
	before, after := w.rows[wr.Key].text(attrKey), wr.Apply(w.rows[wr.Key]).text(attrKey)
	named := wr.Key.SK == "B" || strings.HasPrefix(wr.Key.PK, "C#")
	if named && before != "" && after != "" && before != after && !w.lost[before] {
		w.fault("%v names another key, and the object of the old one was fine", wr.Key)
	}
}

func (w *world) query(q Query) Page {
	var page Page
	for key, attrs := range w.rows {
		if key.PK == q.PK && strings.HasPrefix(key.SK, q.Prefix) && key.SK > q.After {
			page.Rows = append(page.Rows, Row{Key: key, Attrs: attrs})
		}
	}
	slices.SortFunc(page.Rows, func(a, b Row) int { return strings.Compare(a.Key.SK, b.Key.SK) })
	if len(page.Rows) > q.Limit {
		page.Rows, page.More = page.Rows[:q.Limit], true
	}
	return page
}

// turn runs one call of an actor when it is that call's turn, and returns what
// the actor is told of it.
type turn func(what string, call func() error) error

type simNames struct {
	w    *world
	turn turn
}

func (n simNames) Get(_ context.Context, keys ...Key) (rows []Row, err error) {
	err = n.turn("get", func() error {
		rows = make([]Row, len(keys))
		for i, key := range keys {
			rows[i] = Row{Key: key, Attrs: n.w.rows[key]}
		}
		return nil
	})
	return rows, err
}

func (n simNames) Query(_ context.Context, q Query) (page Page, err error) {
	err = n.turn("query", func() error {
		page = n.w.query(q)
		return nil
	})
	return page, err
}

func (n simNames) Update(ctx context.Context, wr Write) (row Row, err error) {
	err = n.turn("write", func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := n.w.apply([]Write{wr}); err != nil {
			return err
		}
		row = Row{Key: wr.Key, Attrs: n.w.rows[wr.Key]}
		return nil
	})
	return row, err
}

func (n simNames) Transact(_ context.Context, token string, writes ...Write) error {
	return n.turn("write", func() error {
		if n.w.tokens[token] {
			return nil
		}
		err := n.w.apply(writes)
		n.w.tokens[token] = err == nil
		return err
	})
}

type simBlobs struct {
	w    *world
	turn turn
}

// piece names appended bytes; the State of a Stored is the list of them.
type piece struct {
	Name string
	Size int
}

func (b simBlobs) Put(_ context.Context, key string, content []byte) error {
	return b.turn("put", func() error { return b.write(key, content) })
}

func (b simBlobs) write(key string, content []byte) error {
	if _, taken := b.w.content[key]; taken {
		return ErrTaken
	}
	if once, was := b.w.written[key]; was && !bytes.Equal(once, content) {
		b.w.fault("key %.8s was %q and becomes %q", key, once, content)
	}
	b.w.content[key], b.w.written[key] = content, content
	delete(b.w.lost, key)
	return nil
}

func (b simBlobs) Append(_ context.Context, key string, claim Claim, stored Stored, body io.Reader) (out Stored, err error) {
	content, err := io.ReadAll(body)
	if err != nil {
		return Stored{}, err
	}
	err = b.turn("append", func() error {
		name := key + "." + claim.Nonce
		for p, slot := range b.w.slots {
			if strings.HasPrefix(p, key) && p != name && slot.First < claim.First+claim.Count && claim.First < slot.First+slot.Count {
				b.w.fault("claims %+v and %+v share part numbers", slot, claim)
			}
		}
		b.w.slots[name] = claim
		b.w.pieces[name] = content
		state, err := json.Marshal(append(decode(stored), piece{name, len(content)}))
		out = Stored{Size: stored.Size + int64(len(content)), State: state}
		return err
	})
	return out, err
}

func decode(stored Stored) (pieces []piece) {
	if stored.State != nil {
		if err := json.Unmarshal(stored.State, &pieces); err != nil {
			panic(err)
		}
	}
	return pieces
}

func (b simBlobs) Complete(_ context.Context, key string, stored Stored) error {
	return b.turn("complete", func() error {
		content := []byte{}
		for _, p := range decode(stored) {
			bytes, there := b.w.pieces[p.Name]
			if !there {
				return ErrTaken
			}
			content = append(content, bytes...)
		}
		if err := b.write(key, content); err != nil {
			return err
		}
		for _, p := range decode(stored) {
			delete(b.w.pieces, p.Name)
		}
		return nil
	})
}

func (b simBlobs) Discard(_ context.Context, _ string, stored, keep Stored) error {
	return b.turn("discard", func() error {
		kept := decode(keep)
		for _, p := range decode(stored) {
			if !slices.Contains(kept, p) {
				delete(b.w.pieces, p.Name)
				delete(b.w.uploads, p.Name)
			}
		}
		return nil
	})
}

func (b simBlobs) Open(_ context.Context, key string, offset, length int64) (rc io.ReadCloser, err error) {
	err = b.turn("open", func() error {
		content, there := b.w.content[key]
		if !there {
			return ErrNoContent
		}
		content = content[offset:]
		if length >= 0 {
			content = content[:length]
		}
		rc = io.NopCloser(bytes.NewReader(content))
		return nil
	})
	return rc, err
}

func (b simBlobs) Presign(context.Context, string, string) (string, error) { return "", nil }

func (b simBlobs) Delete(_ context.Context, key string) error {
	return b.turn("delete", func() error {
		if state := b.w.rows[objectKey(key)].text(attrState); state != stateDead {
			b.w.fault("key %.8s is deleted while its row is %q", key, state)
		}
		delete(b.w.content, key)
		delete(b.w.written, key) // a zombie may write again to a dead key: nobody names it
		return nil
	})
}
