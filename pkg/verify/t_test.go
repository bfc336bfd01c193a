package verify

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestTable: every row of cases.txt has five cells and a function, and every function a row.
func TestTable(t *testing.T) {
	var ids []string
	for _, c := range Cases() {
		ids = append(ids, c.ID)
	}
	if want := slices.Sorted(maps.Keys(functions())); !slices.Equal(slices.Sorted(slices.Values(ids)), want) {
		t.Errorf("cases.txt has the cases\n%v\nindex.go has\n%v", ids, want)
	}
	for _, row := range Table(casesTable) {
		if len(row) != 1 && len(row) != 5 {
			t.Errorf("%d cells in %q", len(row), row)
		}
	}
}

func TestSetup(t *testing.T) {
	for name, tt := range map[string]struct {
		steps func(*T)
		want  Status
	}{
		"passed":             {func(*T) {}, Passed},
		"failed":             {func(t *T) { t.fail(nil, "no") }, Skipped},
		"not offered":        {func(t *T) { t.notOffered(nil, "no") }, NotOffered},
		"failed in parallel": {func(t *T) { t.parallel(3, func(int) { t.fail(nil, "no") }) }, Skipped},
		"skipped inside":     {func(t *T) { t.setup(func() { t.fail(nil, "no") }) }, Skipped},
	} {
		if r := new(T).resultOf(func(t *T) { t.setup(func() { tt.steps(t) }) }); r.Status != tt.want {
			t.Errorf("%s: got %q, want %q", name, r.Status, tt.want)
		}
	}
	r := new(T).resultOf(func(t *T) { t.setup(func() { panic("a bug") }) })
	if r.Status != Failed || !strings.Contains(r.Detail, "a fault of the suite, not of the registry: a bug") {
		t.Errorf("a bug in the steps ends as %s: %s", r.Status, r.Detail)
	}
}

func TestParallel(t *testing.T) {
	all := []Status{Passed, Skipped, NotOffered, Failed, OverLimit}
	run := func(statuses []Status) Status {
		return new(T).resultOf(func(t *T) {
			t.parallel(len(statuses), func(i int) {
				if statuses[i] != Passed {
					t.end(statuses[i], nil, "")
				}
			})
		}).Status
	}
	if got := run(all); got != Failed {
		t.Errorf("the case is %s although one run failed", got)
	}
	if got := run(all[:3]); got != Skipped {
		t.Errorf("the case is %s, want the status of the first run that did not pass", got)
	}
	if got := run(all[:1]); got != Passed {
		t.Errorf("the case is %s although all runs passed", got)
	}
}
