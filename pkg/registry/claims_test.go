package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

var errGone = errors.New("the client is gone")

// breaking is a body that breaks off after n bytes.
func breaking(n int) io.Reader {
	return io.MultiReader(strings.NewReader(strings.Repeat("b", n)), errorReader{})
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errGone }

// TestFightOverPartNumbers: requests on one upload take it over from each other, their
// bodies break off or need more numbers than a claim has, numbers come back, parts and
// writes arrive long after their senders gave up, and processes die. A part that was
// recorded is never overwritten, and the parts are what was hashed.
func TestFightOverPartNumbers(t *testing.T) {
	for seed := range seeds(1500) {
		synctest.Test(t, func(t *testing.T) { fightOverNumbers(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func fightOverNumbers(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	var u Upload
	s.spawn(0, func(ctx context.Context, r *Registry) (err error) {
		u, err = r.StartUpload(ctx, "r", "")
		return err
	})
	s.run()
	offset := int64(0)
	s.decide = func(p *pending) fate {
		before := offset
		if offset = s.world.rows[objectKey(uploadKey(u.ID))].number(attrHashed); offset < before {
			s.fault("the upload goes back from byte %d to %d", before, offset)
		}
		if p.what == "write" || p.what == "part" {
			return s.sometimes(10, late, late, late)
		}
		return s.sometimes(20)
	}
	for i := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		s.spawn(0, func(ctx context.Context, r *Registry) error {
			var failed error
			for j := range 4 {
				c := Chunk{Offset: -1, Length: -1}
				n := rng.IntN(12)
				if rng.IntN(4) == 0 {
					n = 2*claimParts + rng.IntN(3*claimParts)
				}
				switch rng.IntN(4) {
				case 0:
					c.Body = breaking(n)
				case 1: // broken off in the eyes of the rules only
					c.Length, c.Body = int64(n+9)*knownLengthPart, strings.NewReader(strings.Repeat("l", n))
				default:
					c.Body = strings.NewReader(strings.Repeat(fmt.Sprint(i, j), n))
				}
				_, err := r.AppendUpload(ctx, "r", u.ID, c)
				failed = errors.Join(failed, err)
			}
			return failed
		})
	}
	s.run()
	for _, arrive := range s.late {
		_ = arrive()
		s.world.check(s.fault)
	}
	if s.failure != "" {
		t.Fatal(s.failure)
	}
	s.wantHashed(u.ID)
}

// wantHashed fails unless the parts of an upload are the bytes whose hash it keeps. Parts
// may be gone: a request that lost its claim discards them, and both its claim and its
// record may arrive after that. Completing such an upload is refused.
func (s *sim) wantHashed(id string) {
	row := s.world.rows[objectKey(uploadKey(id))]
	h, err := loadHashes(row)
	if err != nil {
		s.t.Fatal(err)
	}
	var content []byte
	for _, p := range decodePieces(Stored{State: row.bytes(attrStored)}) {
		part, there := s.world.pieces[p.Name]
		if !there {
			return
		}
		content = append(content, part.content...)
	}
	if hashed, _ := h.Digest(oci.SHA256); hashed != oci.SHA256.FromBytes(content) {
		s.t.Errorf("%d parts hold other bytes than were hashed", len(decodePieces(Stored{State: row.bytes(attrStored)})))
	}
}

// TestPartNumbersComeBack: an upload spends numbers on the parts that it has, and on
// processes that died, and on nothing else.
func TestPartNumbersComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		var u Upload
		next := func() int64 { return s.world.rows[objectKey(uploadKey(u.ID))].number(attrNextPart) }
		spends := func(what string, want int64, act func(context.Context, *Registry)) {
			t.Helper()
			before := next()
			s.spawn(0, func(ctx context.Context, r *Registry) error {
				act(ctx, r)
				return nil
			})
			s.run()
			if spent := next() - before; spent != want {
				t.Errorf("%s: spent %d part numbers, want %d", what, spent, want)
			}
		}
		chunk := func(c Chunk) func(context.Context, *Registry) {
			return func(ctx context.Context, r *Registry) { _, _ = r.AppendUpload(ctx, "r", u.ID, c) }
		}
		const large = 9_000_000_000
		spends("start", 0, func(ctx context.Context, r *Registry) { u, _ = r.StartUpload(ctx, "r", "") })
		for range 20 {
			spends("unknown length", 2, chunk(Chunk{Offset: -1, Length: -1, Body: strings.NewReader("4byt")}))
			spends("broken body", 0, chunk(Chunk{Offset: -1, Length: -1, Body: breaking(500)}))
			spends("broken large body", 0, chunk(Chunk{Offset: -1, Length: large, Body: breaking(0)}))
			spends("no body", 0, chunk(Chunk{Offset: -1}))
		}
		spends("a body longer than a claim", 2*claimParts+1,
			chunk(Chunk{Offset: -1, Length: -1, Body: bytes.NewReader(make([]byte, (2*claimParts+1)*simPart))}))
		spends("another length than announced", 2, chunk(Chunk{Offset: -1, Length: large, Body: strings.NewReader("4byt")}))
		spends("a wrong digest", 2, func(ctx context.Context, r *Registry) {
			wrong := Finish{Digest: oci.SHA256.FromBytes([]byte("other")), Size: -1}
			wrong.Chunk = Chunk{Offset: -1, Length: -1, Body: strings.NewReader("4byt")}
			if err := r.CompleteUpload(ctx, "r", u.ID, wrong); !errors.Is(err, oci.NewError(oci.DigestInvalid, "")) {
				t.Error(err)
			}
		})
		s.decide = only(failsBefore, "part")
		spends("a part that may arrive late", 1, chunk(Chunk{Offset: -1, Length: -1, Body: strings.NewReader("4byt")}))
		s.decide = only(crashBefore, "part")
		spends("a crash", claimParts, chunk(Chunk{Offset: -1, Length: large, Body: strings.NewReader("4byt")}))
		s.decide = func(*pending) fate { return lives }
		s.wantHashed(u.ID)
	})
}

// TestClaimThatArrivesTwice: a claim is extended, taken over, and then made again by a
// repetition of its first write that was under way all the time. What it gives back now
// must not be another claim's.
func TestClaimThatArrivesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		var u Upload
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) { u, _ = r.StartUpload(ctx, "r", "") })
		var repeat func() error
		s.decide = func(p *pending) fate {
			if repeat == nil {
				repeat = p.call
			}
			return lives
		}
		extended, taken, recorded := make(chan bool), make(chan bool), make(chan bool)
		s.spawn(0, func(ctx context.Context, r *Registry) error {
			long := io.MultiReader(bytes.NewReader(make([]byte, (claimParts+1)*simPart)), readerFunc(func([]byte) (int, error) {
				close(extended)
				<-taken
				return 0, errors.Join(repeat(), errGone)
			}))
			if _, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: -1, Body: long}); !errors.Is(err, errGone) {
				t.Error(err)
			}
			_, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: -1, Body: strings.NewReader("recorded")})
			if err != nil {
				t.Error(err)
			}
			close(recorded)
			return nil
		})
		s.spawn(0, func(ctx context.Context, r *Registry) error {
			<-extended
			body := io.MultiReader(readerFunc(func([]byte) (int, error) {
				close(taken)
				<-recorded
				return 0, io.EOF
			}), strings.NewReader("a zombie's"))
			_, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: -1, Body: body})
			wantCode(t, "zombie", err, oci.BlobUploadInvalid)
			return nil
		})
		s.run()
		s.wantHashed(u.ID)
	})
}

// TestChunkThatArrivesTwice: the writes that claim an upload and record a chunk are both
// repeated after the next chunk was recorded, which stays.
func TestChunkThatArrivesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _ := r.StartUpload(ctx, "r", "")
			var repeats []func() error
			s.decide = func(p *pending) fate {
				if p.what == "write" {
					repeats = append(repeats, p.call)
				}
				return lives
			}
			for range 2 {
				one := Chunk{Offset: -1, Length: 3, Body: strings.NewReader("one")}
				if _, err := r.AppendUpload(ctx, "r", u.ID, one); err != nil {
					t.Error(err)
				}
			}
			if err := repeats[0](); err != nil {
				t.Error(err)
			}
			_ = repeats[1]()
			if status, err := r.UploadStatus(ctx, "r", u.ID); err != nil || status.Offset != 6 {
				t.Errorf("%+v, %v", status, err)
			}
		})
	})
}

// TestLastChunkNeedsMoreNumbers: the commit goes by the claim as it is after that.
func TestLastChunkNeedsMoreNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			content := make([]byte, (claimParts+9)*simPart)
			u, _ := r.StartUpload(ctx, "r", "")
			last := Finish{Digest: oci.SHA256.FromBytes(content), Size: -1}
			last.Chunk = Chunk{Offset: 0, Length: -1, Body: bytes.NewReader(content)}
			if err := r.CompleteUpload(ctx, "r", u.ID, last); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestExtensionMovesTheEnd: a body that is long has the whole life of an upload before it
// again and again.
func TestExtensionMovesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _ := r.StartUpload(ctx, "r", "")
			s.advance(sessionLife - time.Hour)
			pass := readerFunc(func([]byte) (int, error) { s.advance(sessionLife - time.Hour); return 0, io.EOF })
			more := bytes.NewReader(make([]byte, (claimParts+1)*simPart))
			body := io.MultiReader(pass, more, &sweptReader{s, r})
			if _, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: 0, Length: -1, Body: body}); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestZombieCannotExtend: a request that was taken over ends where its numbers do.
func TestZombieCannotExtend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _ := r.StartUpload(ctx, "r", "")
			takeOver := readerFunc(func([]byte) (int, error) {
				one := Chunk{Offset: -1, Length: 3, Body: strings.NewReader("one")}
				if _, err := r.AppendUpload(ctx, "r", u.ID, one); err != nil {
					return 0, err
				}
				return 0, io.EOF
			})
			rest := bytes.NewReader(make([]byte, 4*claimParts*simPart))
			_, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: -1, Body: io.MultiReader(takeOver, rest)})
			wantCode(t, "zombie", err, oci.BlobUploadInvalid)
			if rest.Len() == 0 {
				t.Error("the zombie read all of its body")
			}
			if status, err := r.UploadStatus(ctx, "r", u.ID); err != nil || status.Offset != 3 {
				t.Errorf("%+v, %v", status, err)
			}
		})
	})
}

// TestGivesBackForAClientThatWent: its context is dead when the body breaks off.
func TestGivesBackForAClientThatWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		alone(t, s, func(ctx context.Context, r *Registry, _ simBlobs) {
			u, _ := r.StartUpload(ctx, "r", "")
			ctx, gone := context.WithCancel(ctx)
			body := io.MultiReader(readerFunc(func([]byte) (int, error) { gone(); return 0, io.EOF }), errorReader{})
			if _, err := r.AppendUpload(ctx, "r", u.ID, Chunk{Offset: -1, Length: -1, Body: body}); !errors.Is(err, errGone) {
				t.Error(err)
			}
			if n := s.world.rows[objectKey(uploadKey(u.ID))].number(attrNextPart); n != 0 {
				t.Errorf("%d part numbers are spent", n)
			}
		})
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
