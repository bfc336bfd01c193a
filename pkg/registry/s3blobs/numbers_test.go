package s3blobs

import (
	"context"
	"errors"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
)

// takeAll takes numbers until there are none.
func takeAll(t *testing.T, n *numbers) (taken []int) {
	t.Helper()
	for {
		number, err := n.take(t.Context())
		if errors.Is(err, registry.ErrTooLarge) {
			return taken
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, number)
	}
}

// Claims of one key that continue one upload never share a number, whoever is a
// zombie, and their numbers grow.
func TestNumbers(t *testing.T) {
	for _, test := range []struct{ origin, count, base int64 }{
		{0, 2, 1}, {1, 2, 9}, {0, 1, 1}, {5000, 25, 9000}, {1 << 40, 2000, 100}, {0, 3000, 9999}, {0, 0, 4},
	} {
		s := state{upload: "u", slot: test.origin, base: int(test.base)}
		used := map[int]bool{}
		for n := 1; n <= s.base; n++ {
			used[n] = true // by the Append that made the upload
		}
		highest := s.base
		for i := range int64(200) {
			first := test.origin + i*test.count + i // with gaps
			n, err := numbersFor(s, registry.Claim{First: first, Count: test.count})
			if err != nil {
				t.Fatal(err)
			}
			taken := takeAll(t, &n)
			for _, number := range taken {
				if used[number] || number <= highest || number >= lastNumber {
					t.Fatalf("%+v: claim %d got %d", test, i, number)
				}
				used[number], highest = true, number
			}
			if unused := n.unused(n.taken); unused != test.count-int64(len(taken)) {
				t.Fatalf("%+v: claim %d took %d and has %d unused", test, i, len(taken), unused)
			}
		}
	}
	if _, err := numbersFor(state{upload: "u", slot: 5}, registry.Claim{First: 4, Count: 1}); err == nil {
		t.Error("an old claim got numbers")
	}
}

// An Append that makes its upload has all numbers and spends no slot.
func TestOwnNumbers(t *testing.T) {
	own, err := numbersFor(state{}, registry.Claim{First: 1 << 50, Count: 7})
	if err != nil {
		t.Fatal(err)
	}
	if taken := takeAll(t, &own); len(taken) != lastNumber-1 || taken[0] != 1 || own.last != lastNumber-1 {
		t.Errorf("%d numbers from %d to %d", len(taken), taken[0], own.last)
	}
	if own.unused(own.taken) != 7 {
		t.Errorf("%d are unused", own.unused(own.taken))
	}
}

// A claim is extended when a part needs it, not before, and as long as S3 has numbers.
func TestMoreNumbers(t *testing.T) {
	next, calls := int64(102), 0
	lost := errors.New("taken over")
	claim := registry.Claim{First: 100, Count: 2, More: func(context.Context) (first, count int64, err error) {
		if calls++; calls == 3 {
			return 0, 0, lost
		}
		next += 10 // another claim has ended in between, or a repetition was applied
		return next - 5, 5, nil
	}}
	n, err := numbersFor(state{upload: "u", slot: 90, base: 4}, claim)
	if err != nil {
		t.Fatal(err)
	}
	want := []int{15, 16, 22, 23, 24, 25, 26, 32, 33, 34, 35, 36}
	for i, number := range want {
		if got, err := n.take(t.Context()); got != number || err != nil {
			t.Fatalf("number %d is %d, %v, want %d", i, got, err, number)
		}
	}
	if calls != 2 || n.spare() || n.unused(3) != 9 {
		t.Errorf("%d calls, spare: %t, unused: %d", calls, n.spare(), n.unused(3))
	}
	if _, err := n.take(t.Context()); !errors.Is(err, lost) {
		t.Errorf("error is %v", err)
	}

	calls = 0
	claim.First, claim.Count = 0, lastNumber-5 // all that are left above base
	n, err = numbersFor(state{upload: "u", base: 4}, claim)
	if err != nil {
		t.Fatal(err)
	}
	if taken := takeAll(t, &n); len(taken) != lastNumber-5 || calls != 0 {
		t.Errorf("%d numbers, %d calls", len(taken), calls)
	}

	claim.More = func(context.Context) (first, count int64, err error) { return 4, 5, nil }
	n, err = numbersFor(state{upload: "u", base: 4}, registry.Claim{First: 0, Count: 5, More: claim.More})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 99; i++ {
		_, err = n.take(t.Context())
	}
	if !errors.Is(err, errOldClaim) {
		t.Errorf("numbers twice: %v", err)
	}
}
