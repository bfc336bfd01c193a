package verify

import (
	"strings"
	"testing"
)

// outcomeOfSteps is how a case ends.
func outcomeOfSteps(run func(*probe)) outcome { return new(probe).outcomeOf(run) }

func TestProbeGiven(t *testing.T) {
	for name, tt := range map[string]struct {
		steps func(*probe)
		want  Status
	}{
		"nothing wrong":    {func(*probe) {}, Passed},
		"failed":           {func(p *probe) { p.fail(nil, "no") }, Skipped},
		"not offered":      {func(p *probe) { p.notOffered(&answer{}, "no") }, NotOffered},
		"failed in each":   {func(p *probe) { p.each(3, func(int) { p.fail(nil, "no") }) }, Skipped},
		"skipped and more": {func(p *probe) { p.given(func() { p.fail(nil, "no") }) }, Skipped},
	} {
		o := outcomeOfSteps(func(p *probe) { p.given(func() { tt.steps(p) }) })
		if o.status != tt.want {
			t.Errorf("%s: got %q, want %q", name, o.status, tt.want)
		}
	}
	if o := outcomeOfSteps(func(p *probe) { p.given(func() { panic("a bug") }) }); o.status != Failed || !strings.Contains(o.detail, "a fault of the suite, not of the registry: a bug") {
		t.Errorf("a bug in the steps ends as %s: %s", o.status, o.detail)
	}
}

func TestProbeEach(t *testing.T) {
	all := []Status{Passed, Skipped, NotOffered, Failed, OverLimit}
	o := outcomeOfSteps(func(p *probe) {
		p.each(len(all), func(i int) {
			if all[i] != Passed {
				panic(outcome{status: all[i]})
			}
		})
	})
	if o.status != Failed {
		t.Errorf("where one failed the case is %s", o.status)
	}
	o = outcomeOfSteps(func(p *probe) {
		p.each(3, func(i int) {
			if i > 0 {
				panic(outcome{status: all[i]})
			}
		})
	})
	if o.status != Skipped {
		t.Errorf("where none failed the case is %s, want the first", o.status)
	}
}
