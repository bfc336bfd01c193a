// Command coldstart measures cold starts: it starts the function binaries repeatedly, in
// turn with a hello-world function, under its own runtime API, and prints the times until
// they poll for work and until they have answered.
//
// It must not know the functions, except for the upload whose memory it measures.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/pierless/pierless/pkg/access"
)

// Limits of a function.
const (
	maxInit  = 60 * time.Millisecond
	maxRatio = 2.0
	maxSize  = 12_000_000
	maxRSS   = 256 << 20
)

// row is the result of one function.
type row struct {
	Name                           string
	Init, InitP90, First, FirstP90 time.Duration
	Ratio                          float64 // of Init to that of hello
	Size, PeakRSS                  int64   // bytes
	Within                         bool    // all limits
}

type report struct {
	Starts    int
	Functions []row
	Chunks    *chunks `json:",omitempty"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("coldstart", flag.ContinueOnError)
	n := flags.Int("n", 20, "starts of each function")
	m := flags.Int("chunks", 8, "chunks of the upload")
	asJSON := flags.Bool("json", false, "print JSON; times in nanoseconds, sizes in bytes")
	check := flags.Bool("check", false, "fail if a limit is exceeded")
	directory := flags.String("functions", "bin/functions", "directory with <family>/bootstrap")
	noRequests := flags.String("no-requests", "sweep", "function that serves no requests: only its start is measured")
	hello := flags.String("hello", "bin/coldstart/hello", "function to compare with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	binaries, err := filepath.Glob(filepath.Join(*directory, "*", "bootstrap"))
	if err != nil || len(binaries) == 0 {
		return fmt.Errorf("no functions in %s: build them first", *directory)
	}
	token, sum := access.NewToken()
	r, err := measure(append([]string{*hello}, binaries...), *noRequests, environment(sum), token, *n)
	if err != nil {
		return err
	}
	if os.Getenv("AWS_ENDPOINT_URL_S3") != "" && os.Getenv("PIERLESS_BUCKET") != "" {
		took, err := sendChunks(filepath.Join(*directory, "uploads", "bootstrap"), environment(sum), token, *m)
		if err != nil {
			return fmt.Errorf("upload in chunks: %w", err)
		}
		r.Chunks = &took
	}
	if err := r.print(out, *asJSON); err != nil || !*check {
		return err
	}
	return r.check()
}

// environment returns the environment of a deployed function, with this process's values
// of the variables it has. It passes no others on: functions would read a profile or a CA
// bundle at each start, and Lambda sets neither. A start does not use bucket and table,
// so any names do.
func environment(tokenSHA256 string) []string {
	e := []string{"PIERLESS_LOG=json", "PIERLESS_ADMIN_TOKEN_SHA256=" + tokenSHA256}
	for name, otherwise := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL_DYNAMODB": "", "PIERLESS_BUCKET": "none", "PIERLESS_TABLE": "none",
	} {
		if value := cmp.Or(os.Getenv(name), otherwise); value != "" {
			e = append(e, name+"="+value)
		}
	}
	return e
}

// measure starts the binaries in turn, so that other load of the machine affects all of
// them alike. The first is the reference.
func measure(binaries []string, noRequests string, environment []string, token string, n int) (report, error) {
	starts := make([][]start, len(binaries))
	ping := event("GET", "/v2/", token, nil)
	for round := range n + 1 {
		for i, binary := range binaries {
			s, err := launch(binary, environment)
			if err != nil {
				return report{}, err
			}
			if name(binary) != noRequests {
				_, err = s.send(ping)
			}
			took := s.end()
			if err != nil {
				return report{}, err
			}
			if round > 0 { // the first one reads the binary from disk
				starts[i] = append(starts[i], took)
			}
		}
	}
	r := report{Starts: n}
	for i, binary := range binaries {
		built, err := os.Stat(binary)
		if err != nil {
			return report{}, err
		}
		r.Functions = append(r.Functions, summarize(name(binary), starts[i], built.Size(), r.Functions))
	}
	return r, nil
}

func name(binary string) string {
	if filepath.Base(binary) == "bootstrap" {
		return filepath.Base(filepath.Dir(binary))
	}
	return filepath.Base(binary)
}

func summarize(name string, starts []start, size int64, before []row) row {
	at := func(share float64, of func(start) time.Duration) time.Duration {
		all := make([]time.Duration, len(starts))
		for i, s := range starts {
			all[i] = of(s)
		}
		slices.Sort(all)
		return all[int(share*float64(len(all)-1))]
	}
	initOf, firstOf := func(s start) time.Duration { return s.Init }, func(s start) time.Duration { return s.First }
	r := row{
		Name: name, Size: size, Ratio: 1,
		Init: at(0.5, initOf), InitP90: at(0.9, initOf), First: at(0.5, firstOf), FirstP90: at(0.9, firstOf),
	}
	for _, s := range starts {
		r.PeakRSS = max(r.PeakRSS, s.PeakRSS)
	}
	if len(before) > 0 {
		r.Ratio = float64(r.Init) / float64(before[0].Init)
	}
	r.Within = r.Init < maxInit && r.Ratio <= maxRatio && r.Size < maxSize && r.PeakRSS < maxRSS
	return r
}

func (r report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "function\tinit ms\tp90\tto hello\tfirst answer ms\tp90\tMB\tpeak MiB\twithin limits\t")
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for _, f := range r.Functions {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.2fx\t%.1f\t%.1f\t%.1f\t%.0f\t%v\t\n", f.Name, ms(f.Init), ms(f.InitP90), f.Ratio,
			ms(f.First), ms(f.FirstP90), float64(f.Size)/1e6, float64(f.PeakRSS)/(1<<20), f.Within)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d starts each; limits: init under %v and %.0fx hello, %d MB, %d MiB\n", r.Starts, maxInit, maxRatio, maxSize/1_000_000, maxRSS>>20)
	if r.Chunks == nil {
		fmt.Fprintln(out, "memory of a 4 MiB chunk: not measured, no S3 and DynamoDB in the environment (make up prints one)")
		return nil
	}
	fmt.Fprintf(out, "%d chunks of 4 MiB through one uploads function: peak %d MiB, each %v\n", r.Chunks.Chunks, r.Chunks.PeakRSS>>20, r.Chunks.Each)
	return nil
}

func (r report) check() error {
	for _, f := range r.Functions[1:] {
		if !f.Within {
			return fmt.Errorf("%s is not within its limits", f.Name)
		}
	}
	if r.Chunks != nil && r.Chunks.PeakRSS > maxRSS {
		return errors.New("a 4 MiB chunk takes too much memory")
	}
	return nil
}
