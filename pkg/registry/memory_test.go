package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
	pieces  map[string]appended       // parts of open uploads, by key and part number
	written map[string][]byte         // what a key once held: written once means once
	uploads map[string]map[int][]byte // parts that clients sent
	summed  map[string]bool           // keys whose digest the store has computed
	blind   bool                      // it computes none
	encoded map[string]bool           // keys whose content was sent with a Content-Encoding
	lost    map[string]bool           // keys whose content was deleted or damaged behind the registry's back
	// unlinked has the links that were deleted while their objects were lost: a repair makes a
	// repository forget such a blob.
	unlinked map[Key]bool
	stored   map[string]time.Time // when a key got its content
	now      func() time.Time
	fault    func(format string, args ...any)
}

func newWorld(fault func(string, ...any)) *world {
	return &world{
		rows: map[Key]Attrs{}, tokens: map[string]bool{}, content: map[string][]byte{},
		pieces: map[string]appended{}, written: map[string][]byte{},
		uploads: map[string]map[int][]byte{}, summed: map[string]bool{}, encoded: map[string]bool{},
		lost: map[string]bool{}, unlinked: map[Key]bool{}, stored: map[string]time.Time{}, now: time.Now, fault: fault,
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
		if strings.HasPrefix(wr.Key.SK, linkPrefix) && w.rows[wr.Key] != nil {
			w.unlinked[wr.Key] = attrs == nil && w.lost[w.rows[wr.Key].text(attrKey)]
		}
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

type simMetadata struct {
	w *world
	// turn waits for the turn of an actor's call, runs it, and returns the result that the
	// actor sees.
	turn turn
}

func (n simMetadata) Get(_ context.Context, keys ...Key) (rows []Row, err error) {
	err = n.turn("get", func() error {
		rows = make([]Row, len(keys))
		for i, key := range keys {
			rows[i] = Row{Key: key, Attrs: n.w.rows[key]}
		}
		return nil
	})
	return rows, err
}

func (n simMetadata) Query(_ context.Context, q Query) (page Page, err error) {
	err = n.turn("query", func() error {
		page = n.w.query(q)
		return nil
	})
	return page, err
}

func (n simMetadata) Update(ctx context.Context, wr Write) (row Row, err error) {
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

func (n simMetadata) Transact(_ context.Context, token string, writes ...Write) error {
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

// piece names a part and says who wrote it; the State of a Stored is the list of them.
type piece struct {
	Name   string
	Writer string
}

// appended is a part as the store has it. As in S3, the last write under a number wins.
type appended struct {
	writer  string
	content []byte
}

// simPart is the size of a part in bytes, wholePart that of a body that was announced to
// be short: it has one.
const (
	simPart   = 2
	wholePart = 1000
)

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
	b.w.content[key], b.w.written[key], b.w.stored[key] = content, content, b.w.now()
	delete(b.w.lost, key)
	return nil
}

// Append sends part by part, each when its turn comes: a zombie goes on while others
// append.
func (b simBlobs) Append(
	ctx context.Context, key string, claim Claim, stored Stored, body io.Reader,
) (Stored, error) {
	pieces, size := decodePieces(stored), stored.Size
	next, end, total, taken := claim.First, claim.First+claim.Count, claim.Count, int64(0)
	buffer := make([]byte, simPart)
	if claim.Count == 1 {
		buffer = make([]byte, wholePart)
	}
	for {
		n, ended := io.ReadFull(body, buffer)
		if n > 0 && (ended == nil || ended == io.ErrUnexpectedEOF) {
			if next == end {
				first, count, err := claim.More(ctx)
				if err != nil {
					return Stored{Unused: total - taken}, err
				}
				next, end, total = first, first+count, total+count
			}
			p := piece{fmt.Sprint(key, ".", next), claim.Nonce}
			next, taken = next+1, taken+1
			content := bytes.Clone(buffer[:n])
			if err := b.turn("part", func() error {
				b.w.pieces[p.Name] = appended{p.Writer, content}
				return nil
			}); err != nil {
				return Stored{Unused: total - taken}, err // it may arrive late
			}
			pieces, size = append(pieces, p), size+int64(n)
		}
		if ended == io.EOF || ended == io.ErrUnexpectedEOF {
			break
		}
		if ended != nil {
			return Stored{Unused: total}, ended // each part was answered: none is on its way
		}
	}
	out := Stored{Size: size, Unused: total - taken}
	err := b.turn("append", func() (err error) {
		out.State, err = json.Marshal(pieces)
		return err
	})
	if err != nil {
		return Stored{Unused: total}, err
	}
	return out, nil
}

func decodePieces(stored Stored) (pieces []piece) {
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
		for _, p := range decodePieces(stored) {
			part, there := b.w.pieces[p.Name]
			if !there {
				return ErrTaken
			}
			if part.writer != p.Writer {
				b.w.fault("part %s is another claim's", p.Name)
			}
			content = append(content, part.content...)
		}
		if err := b.write(key, content); err != nil {
			return err
		}
		for _, p := range decodePieces(stored) {
			delete(b.w.pieces, p.Name)
		}
		return nil
	})
}

func (b simBlobs) Discard(_ context.Context, _ string, stored, keep Stored) error {
	return b.turn("discard", func() error {
		kept := decodePieces(keep)
		for _, p := range decodePieces(stored) {
			if !slices.Contains(kept, p) {
				if b.w.pieces[p.Name].writer == p.Writer {
					delete(b.w.pieces, p.Name)
				}
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
		if state := b.w.rows[objectKey(key)].text(attrState); state != string(objectDead) {
			b.w.fault("key %.8s is deleted while its row is %q", key, state)
		}
		delete(b.w.content, key)
		delete(b.w.written, key) // a zombie may write again to a dead key: no row names it
		return nil
	})
}
