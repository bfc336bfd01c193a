package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is a whole run.
type Report struct {
	URL      string    `json:"url"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Findings []Finding `json:"findings"`
}

// Count is how many findings have the verdict.
func (r *Report) Count(v Verdict) (n int) {
	for _, f := range r.Findings {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	totals := map[Verdict]int{}
	for _, v := range []Verdict{OK, Wrong, Unknown} {
		totals[v] = r.Count(v)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		OK     bool            `json:"ok"`
		Totals map[Verdict]int `json:"totals"`
		*Report
	}{totals[OK] == len(r.Findings), totals, r})
}

// marks are what stands in front of a finding.
func mark(v Verdict) string {
	switch v {
	case OK:
		return "  ok "
	case Wrong:
		return "WRONG"
	case Unknown:
	}
	return "   ? "
}

// WriteText writes the report for people: a line for each check, what is wrong in
// full, and a summary.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", r.URL)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range r.Findings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", mark(f.Verdict), f.ID, oneLine(f.Seen))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		if f.Verdict == Wrong {
			f.write(w)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.summary())
	return err
}

// oneLine is what a row of the list takes.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// write shows what is wrong.
func (f Finding) write(w io.Writer) {
	fmt.Fprintf(w, "\nWRONG: %s\n  asks:   %s\n  seen:   %s\n  breaks: %s\n  set:    %s\n", f.ID, f.Asks, f.Seen, f.Breaks, f.Set)
	if f.Exchange != nil {
		fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(strings.TrimRight(f.Exchange.String(), "\n"), "\n", "\n    "))
	}
}

func (r *Report) summary() string {
	wrong, unknown := r.Count(Wrong), r.Count(Unknown)
	line := fmt.Sprintf("%d checks: %d ok, %d wrong, %d unknown.", len(r.Findings), r.Count(OK), wrong, unknown)
	switch {
	case wrong > 0:
		return line + " What to set stands with each; run this again afterwards, one fault can hide another."
	case unknown > 0:
		return line + " Nothing was seen to be wrong, but not all was seen."
	}
	return line
}
