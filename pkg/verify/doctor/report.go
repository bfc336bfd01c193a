package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pierless/pierless/pkg/verify"
)

// The statuses of checks have their own words in reports.
const (
	statusOK      = "ok"
	statusWrong   = "wrong"
	statusUnknown = "unknown"
)

// word returns the word for a status.
func word(s verify.Status) string {
	switch s {
	case verify.Passed:
		return statusOK
	case verify.Failed:
		return statusWrong
	default:
		return statusUnknown
	}
}

// finding is a result in JSON.
type finding struct {
	ID       string           `json:"id"`
	Asks     string           `json:"asks"`
	Breaks   string           `json:"breaks"`
	Verdict  string           `json:"verdict"`
	Seen     string           `json:"seen"`
	Set      string           `json:"set,omitempty"`
	Exchange *verify.Exchange `json:"exchange,omitempty"`
	Seconds  float64          `json:"seconds"`
}

// WriteJSON writes the report as JSON.
func WriteJSON(w io.Writer, r *verify.Report) error {
	totals := map[string]int{statusOK: 0, statusWrong: 0, statusUnknown: 0}
	findings := make([]finding, 0, len(r.Results))
	for _, res := range r.Results {
		totals[word(res.Status)]++
		findings = append(findings, finding{
			res.ID, res.Requirement, res.Impact, word(res.Status), res.Detail, res.Set, res.Exchange, res.Seconds,
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		OK       bool           `json:"ok"`
		Totals   map[string]int `json:"totals"`
		URL      string         `json:"url"`
		Started  time.Time      `json:"started"`
		Seconds  float64        `json:"seconds"`
		Findings []finding      `json:"findings"`

		CleanUp *verify.CleanUp `json:"cleanUp"`
	}{r.OK(), totals, r.URL, r.Started, r.Seconds, findings, r.CleanUp})
}

// WriteText writes the report as text: one line for each check, a paragraph for each
// fault, and a summary.
func WriteText(w io.Writer, r *verify.Report) error {
	fmt.Fprintf(w, "%s\n\n", r.URL)
	marks := map[string]string{statusOK: "  ok ", statusWrong: "WRONG", statusUnknown: "   ? "}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, res := range r.Results {
		fmt.Fprintf(t, "%s\t%s\t%s\n", marks[word(res.Status)], res.ID, strings.ReplaceAll(res.Detail, "\n", " "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, res := range r.Results {
		if res.Status == verify.Failed {
			res.Describe(w, "WRONG: "+res.ID, [][2]string{
				{"asks", res.Requirement}, {"seen", res.Detail}, {"breaks", res.Impact}, {"set", res.Set},
			})
		}
	}
	wrong, unknown := r.Count(verify.Failed), r.Count(verify.Skipped)
	if _, err := fmt.Fprintf(w, "\n%d checks: %d ok, %d wrong, %d unknown.%s\n",
		len(r.Results), r.Count(verify.Passed), wrong, unknown, advice(wrong, unknown)); err != nil {
		return err
	}
	if r.CleanUp.Kept { // else the last check says what was deleted
		return r.CleanUp.WriteText(w)
	}
	return nil
}

func advice(wrong, unknown int) string {
	switch {
	case wrong > 0:
		return " Change the settings above, then run this again: one fault can hide another."
	case unknown > 0:
		return " No fault was found, but some checks could not be completed."
	}
	return ""
}
