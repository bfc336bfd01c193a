package verify

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Status is the outcome of a case.
type Status string

// The statuses.
const (
	Passed     Status = "passed"
	Failed     Status = "failed"
	Skipped    Status = "skipped"     // its setup failed: the requirement was not tested
	NotOffered Status = "not offered" // the spec lets a registry omit the feature
	OverLimit  Status = "over limit"  // needs a larger body than the registry accepts
)

// Statuses lists all statuses.
func Statuses() []Status { return []Status{Passed, Failed, Skipped, NotOffered, OverLimit} }

// Result is the outcome of one case.
type Result struct {
	Case
	SpecURL string `json:"specURL,omitempty"`
	Status  Status `json:"status"`
	// Detail says what was expected or observed, or why the case was not run.
	Detail string `json:"detail,omitempty"`
	// Set says which setting of the deployment to change. Only doctor sets it.
	Set      string    `json:"set,omitempty"`
	Exchange *Exchange `json:"exchange,omitempty"`
	Seconds  float64   `json:"seconds"`
}

// Report has the results of a run.
type Report struct {
	URL     string    `json:"url"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Results []Result  `json:"results"`
	CleanUp *CleanUp  `json:"cleanUp,omitempty"` // nil: the run created nothing
}

// Count returns the number of results with the status.
func (r *Report) Count(s Status) (n int) {
	for _, res := range r.Results {
		if res.Status == s {
			n++
		}
	}
	return n
}

// OK reports whether every Must was met: a skipped one was not tested, so it counts as
// not met.
func (r *Report) OK() bool {
	for _, res := range r.Results {
		if res.Level == Must && (res.Status == Failed || res.Status == Skipped) {
			return false
		}
	}
	return true
}

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	totals := map[Status]int{}
	for _, s := range Statuses() {
		totals[s] = r.Count(s)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		OK     bool           `json:"ok"`
		Totals map[Status]int `json:"totals"`
		*Report
	}{r.OK(), totals, r})
}

// WriteText writes the report as text: the cases that did not pass, with their
// exchanges, then the totals and the cleanup. With all, it begins with one line for each case.
func (r *Report) WriteText(w io.Writer, all bool) error {
	if all {
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, res := range r.Results {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", res.Status, res.Level, res.ID, res.Requirement)
		}
		fmt.Fprintln(t)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, status := range []Status{NotOffered, OverLimit, Skipped, Failed} {
		for _, res := range r.Results {
			if res.Status == status {
				res.write(w)
			}
		}
	}
	if err := r.writeTotals(w); err != nil || r.CleanUp == nil {
		return err
	}
	return r.CleanUp.WriteText(w)
}

// write describes a result. One that is not a fault takes a single line.
func (res Result) write(w io.Writer) {
	title := fmt.Sprintf("%s: %s %s", strings.ToUpper(string(res.Status)), res.Level, res.ID)
	if res.Status == NotOffered || res.Status == OverLimit {
		fmt.Fprintf(w, "%s: %s\n", title, res.Detail)
		return
	}
	res.Describe(w, title, [][2]string{
		{"rule", res.Requirement},
		{"from", strings.TrimSpace(res.Section + " " + res.SpecURL)},
		{"breaks", res.Impact},
		{"seen", res.Detail},
	})
}

// Describe writes a paragraph about a result: a title, labelled lines and the exchange.
func (res Result) Describe(w io.Writer, title string, lines [][2]string) {
	fmt.Fprintf(w, "\n%s\n", title)
	for _, line := range lines {
		fmt.Fprintf(w, "  %-8s%s\n", line[0]+":", line[1])
	}
	if res.Exchange != nil {
		fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(strings.TrimRight(res.Exchange.String(), "\n"), "\n", "\n    "))
	}
}

func (r *Report) writeTotals(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\ngroup\t")
	for _, s := range Statuses() {
		fmt.Fprintf(t, "%s\t", s)
	}
	fmt.Fprintln(t)
	for _, g := range append(Groups(), "") {
		counts, any := map[Status]int{}, false
		for _, res := range r.Results {
			if res.Group == g || g == "" {
				counts[res.Status]++
				any = true
			}
		}
		if !any {
			continue
		}
		fmt.Fprintf(t, "%s\t", cmp.Or(string(g), "total"))
		for _, s := range Statuses() {
			fmt.Fprintf(t, "%d\t", counts[s])
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML, with one suite for each group. Cases that are
// not offered or over the limit count as skipped.
func (r *Report) WriteJUnit(w io.Writer) error {
	var suites junitSuites
	for _, g := range Groups() {
		s := junitSuite{Name: string(g)}
		var seconds float64
		for _, res := range r.Results {
			if res.Group != g {
				continue
			}
			c := junitCase{Class: string(g), Name: res.ID, Time: fmt.Sprintf("%.3f", res.Seconds)}
			switch res.Status {
			case Passed:
			case Failed:
				s.Failures++
				var text strings.Builder
				res.write(&text)
				c.Failure = &junitMessage{res.Detail, string(res.Level), text.String()}
			default:
				s.Skipped++
				c.Skipped = &junitMessage{Message: string(res.Status) + ": " + res.Detail}
			}
			s.Tests++
			seconds += res.Seconds
			s.Cases = append(s.Cases, c)
		}
		s.Time = fmt.Sprintf("%.3f", seconds)
		if s.Tests > 0 {
			suites.Suites = append(suites.Suites, s)
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suites); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
