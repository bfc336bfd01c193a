package registrytest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/pierless/pierless/pkg/registry"
)

// situations are the states that S3 stores in different ways: nothing, a tail, parts, parts
// and a tail, under appends that make a tail or parts.
func situations() [][2]int {
	return [][2]int{{0, 1000}, {0, 6 * mib}, {1000, 1000}, {3 * mib, 3 * mib}, {5 * mib, 1000}, {5*mib + 9, 5*mib + 3}}
}

// begin returns an upload with base bytes in it.
func (u upload) begin(base int) (upload, registry.Stored, []byte) {
	u.t.Helper()
	u = u.another()
	if base == 0 {
		return u, registry.Stored{}, nil
	}
	content := random(base)
	return u, u.append(registry.Stored{}, content), content
}

// testZombieBeside has two processes with different claims append to one state. Only one is
// recorded; whichever it is, only its bytes appear.
func testZombieBeside(u upload) {
	for _, s := range situations() {
		for recorded := range 2 {
			u, stored, base := u.begin(s[0])
			mine, zombies := random(s[1]), random(s[1])
			var after [2]registry.Stored
			var err [2]error
			claims := [2]registry.Claim{u.claims.claim(), u.claims.claim()}
			together(2, func(i int) {
				content := mine
				if i != recorded {
					content = zombies
				}
				after[i], err[i] = u.Append(u.t.Context(), u.key, claims[i], stored, stream{bytes.NewReader(content)})
			})
			if err := errors.Join(err[:]...); err != nil {
				u.t.Fatalf("%v: %v", s, err)
			}
			last := random(mib)
			u.complete(u.append(after[recorded], last), join(base, mine, last))
		}
	}
}

// blocked is a body that stops in the middle until it is let go.
type blocked struct {
	io.Reader
	reached, release chan struct{}
}

func newBlocked(content []byte, reachedAt int) *blocked {
	b := &blocked{reached: make(chan struct{}), release: make(chan struct{})}
	gate := readerFunc(func([]byte) (int, error) {
		close(b.reached)
		<-b.release
		return 0, io.EOF
	})
	b.Reader = io.MultiReader(bytes.NewReader(content[:reachedAt]), gate, bytes.NewReader(content[reachedAt:]))
	return b
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// zombie starts an append that stops half way. wake lets it continue and returns its
// result.
func (u upload) zombie(stored registry.Stored, size int) (wake func() (registry.Stored, error)) {
	body := newBlocked(random(size), size/2)
	claim := u.claims.claim()
	var after registry.Stored
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		after, err = u.Append(u.t.Context(), u.key, claim, stored, body)
	}()
	select {
	case <-body.reached:
	case <-done: // it failed early
	}
	return func() (registry.Stored, error) {
		close(body.release)
		<-done
		return after, err
	}
}

// testZombieBlocked has a zombie stop in the middle while its successor appends; it
// continues before the successor completes.
func testZombieBlocked(u upload) {
	for _, s := range situations() {
		u, stored, base := u.begin(s[0])
		wake := u.zombie(stored, s[1])
		mine, last := random(s[1]), random(1000)
		recorded := u.append(stored, mine)
		wake() //nolint:errcheck // its result is not recorded
		u.complete(u.append(recorded, last), join(base, mine, last))
	}
}

// testZombieAfterComplete has a zombie continue after its successor completed, then try to
// complete, too.
func testZombieAfterComplete(u upload) {
	for _, s := range situations() {
		u, stored, base := u.begin(s[0])
		wake := u.zombie(stored, s[1])
		mine := random(s[1])
		recorded := u.append(stored, mine)
		u.complete(recorded, join(base, mine))
		if zombies, err := wake(); err == nil {
			u.taken("the zombie completes", u.Complete(u.t.Context(), u.key, zombies))
			if err := u.Discard(u.t.Context(), u.key, zombies, registry.Stored{}); err != nil {
				u.t.Errorf("the zombie discards: %v", err)
			}
		}
		u.holds(join(base, mine))
	}
}

var errBody = errors.New("the client is gone")

// testBodyFails interrupts a body at different places: nothing of it is stored.
func testBodyFails(u upload) {
	for _, base := range []int{0, 1000, 6*mib + 1} {
		for _, cut := range []int{0, 1, 5 * mib, 12*mib + 5} {
			u, stored, content := u.begin(base)
			broken := io.MultiReader(bytes.NewReader(random(cut)), readerFunc(func([]byte) (int, error) { return 0, errBody }))
			if _, err := u.Append(u.t.Context(), u.key, u.claims.claim(), stored, broken); !errors.Is(err, errBody) {
				u.t.Errorf("%d bytes after %d: error is %v, want that of the body", cut, base, err)
			}
			u.empty()
			if cut > mib {
				last := random(1000)
				stored, content = u.append(stored, last), join(content, last)
			}
			u.complete(stored, content)
		}
	}
}

// testNumbersComeBack gives returned numbers to the next claim, while a zombie of an
// earlier one continues.
func testNumbersComeBack(u upload) {
	for _, s := range situations() {
		u, stored, content := u.begin(s[0])
		wake := u.zombie(stored, s[1])
		for range 3 {
			broken := io.MultiReader(bytes.NewReader(random(12*mib+5)), readerFunc(func([]byte) (int, error) { return 0, errBody }))
			after, err := u.Append(u.t.Context(), u.key, u.claims.claim(), stored, broken)
			if !errors.Is(err, errBody) {
				u.t.Errorf("%v: error is %v, want that of the body", s, err)
			}
			if after.Unused < 0 || after.Unused > partsPerClaim {
				u.t.Fatalf("%v: %d of %d parts are unused", s, after.Unused, partsPerClaim)
			}
			u.claims.giveBack(after)
			piece := random(s[1])
			stored = u.append(stored, piece)
			u.claims.giveBack(stored)
			content = append(content, piece...)
		}
		wake() //nolint:errcheck // its result is not recorded
		u.complete(stored, content)
	}
}

var errTakenOver = errors.New("taken over")

// testExtendedClaim has claims that need more parts than they have.
func testExtendedClaim(u upload) {
	base, mine, zombies := random(6*mib), random(33*mib), random(33*mib)
	stored := u.append(registry.Stored{}, base)
	claim := u.claims.claimOf(1)
	claim.More = func(context.Context) (first, count int64, err error) { return u.claims.more(2), 2, nil }
	after, err := u.Append(u.t.Context(), u.key, claim, stored, stream{bytes.NewReader(mine)})
	if err != nil {
		u.t.Fatal(err)
	}
	u.claims.giveBack(after)
	lost := u.claims.claimOf(1)
	lost.More = func(context.Context) (first, count int64, err error) { return 0, 0, errTakenOver }
	_, err = u.Append(u.t.Context(), u.key, lost, after, stream{bytes.NewReader(zombies)})
	if err != nil && !errors.Is(err, errTakenOver) { // a store that needs no numbers does not ask
		u.t.Errorf("error is %v", err)
	}
	last := random(mib)
	u.complete(u.append(after, last), join(base, mine, last))
}

// testCrashes continues in a new process after every step, from the recorded state.
func testCrashes(u upload) {
	for _, sizes := range [][]int{{1000, 2000, 3000}, {4 * mib, 4 * mib, 4 * mib}, {6 * mib, 1, 7 * mib}} {
		u := u.another()
		var stored registry.Stored
		var content []byte
		for _, size := range sizes {
			u.append(stored, random(size)) // the crash comes before this is recorded
			u = u.restarted()
			piece := random(size)
			stored = u.append(stored, piece)
			content = append(content, piece...)
			u = u.restarted()
		}
		u.complete(stored, content)
		u = u.restarted() // the crash comes before the answer
		u.taken("complete again", u.Complete(u.t.Context(), u.key, stored))
		u.holds(content)
	}
}

// testDiscard drops uploads, before and after their completion.
func testDiscard(u upload) {
	if err := u.Discard(u.t.Context(), u.key, registry.Stored{}, registry.Stored{}); err != nil {
		u.t.Errorf("discard nothing: %v", err)
	}
	for _, s := range situations() {
		u, stored, base := u.begin(s[0])
		mine := random(s[1])
		stored = u.append(stored, mine)
		for range 2 {
			if err := u.Discard(u.t.Context(), u.key, stored, registry.Stored{}); err != nil {
				u.t.Errorf("discard %v: %v", s, err)
			}
		}
		u.empty()
		// A store may take its time to discard, but must not complete anything else.
		switch err := u.Complete(u.t.Context(), u.key, stored); {
		case err == nil:
			u.holds(join(base, mine))
		case errors.Is(err, registry.ErrTaken):
			u.empty()
		default:
			u.t.Errorf("complete %v after discard: %v, want ErrTaken", s, err)
		}

		u, stored, base = u.begin(s[0])
		stored = u.append(stored, mine)
		u.complete(stored, join(base, mine))
		if err := u.Discard(u.t.Context(), u.key, stored, registry.Stored{}); err != nil {
			u.t.Errorf("discard %v after complete: %v", s, err)
		}
		u.holds(join(base, mine))
	}
}

// testDiscardKeeps drops the leftovers of a recorded state and of a zombie.
func testDiscardKeeps(u upload) {
	discard := func(u upload, stored, keep registry.Stored) {
		u.t.Helper()
		for range 2 {
			if err := u.Discard(u.t.Context(), u.key, stored, keep); err != nil {
				u.t.Errorf("discard: %v", err)
			}
		}
	}
	for _, s := range situations() {
		u, stored, base := u.begin(s[0])
		zombies := u.append(stored, random(s[1]))
		mine, last := random(s[1]), random(mib)
		recorded := u.append(stored, mine)
		discard(u, stored, recorded)  // what was before
		discard(u, zombies, recorded) // what lost
		discard(u, recorded, recorded)
		u = u.restarted()
		more := u.append(recorded, last)
		discard(u, recorded, more)
		discard(u, registry.Stored{}, more)
		u.complete(more, join(base, mine, last))
		discard(u, zombies, registry.Stored{})
		u.holds(join(base, mine, last))
	}
}
