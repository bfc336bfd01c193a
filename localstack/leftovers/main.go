// Command leftovers finds garbage in a store: it sweeps as if the time of all garbage had come,
// and then lists the objects and rows of bucket and table that are still not in use. With -all
// everything is garbage, also in the directory of an embedded store. With -contents it lists
// everything instead, and with -empty it deletes all objects of a bucket, with which the
// end-to-end tests free disk space.
//
// Use it on LocalStack and on directories of tests only: it expires active uploads too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

// options are the flags.
type options struct {
	name, dataDir        string
	later                time.Duration
	unrecorded           bool
	all, contents, empty bool
}

func main() {
	var o options
	flag.StringVar(&o.name, "name", "", "name of the bucket and of the table")
	flag.StringVar(&o.dataDir, "data-dir", "", "directory of an embedded store, instead of -name")
	flag.DurationVar(&o.later, "later", 48*time.Hour, "offset of the clock, added to the current time")
	flag.BoolVar(&o.unrecorded, "unrecorded", false,
		"ignore what a killed process has not recorded: parts and tails, which lifecycle rules of the bucket delete and\n"+
			"LocalStack does not, and segments, which the embedded store deletes at a start")
	flag.BoolVar(&o.all, "all", false, "fail if anything is left but rows that ttl removes")
	flag.BoolVar(&o.contents, "contents", false, "only print the keys of objects, parts and rows, but for rows that ttl removes")
	flag.BoolVar(&o.empty, "empty", false, "delete all objects of the bucket")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "leftovers:", err)
		os.Exit(1)
	}
}

// store is a bucket and a table, or a directory.
type store interface {
	ports() (registry.Metadata, registry.Blobs)
	// contents lists the keys of all objects and rows, without the rows that have a ttl.
	contents(ctx context.Context, unrecorded bool) ([]string, error)
}

func run(ctx context.Context, o options) (err error) {
	if o.dataDir != "" {
		s, err := openEmbedded(o.dataDir)
		if err != nil {
			return err
		}
		if !o.contents && !o.all {
			return errors.Join(errors.New("-data-dir needs -contents or -all"), s.close())
		}
		return errors.Join(look(ctx, s, o), s.close())
	}
	s, err := openCloud(ctx, o.name)
	if err != nil {
		return err
	}
	if o.empty {
		return s.empty(ctx)
	}
	if o.contents || o.all {
		return look(ctx, s, o)
	}
	if err := sweepAhead(ctx, s, o.later); err != nil {
		return err
	}
	return s.report(ctx, o.unrecorded)
}

// look lists the contents of a store, or fails if there are any after a sweep.
func look(ctx context.Context, s store, o options) error {
	if !o.contents {
		if err := sweepAhead(ctx, s, o.later); err != nil {
			return err
		}
	}
	left, err := s.contents(ctx, o.unrecorded)
	if err != nil {
		return err
	}
	slices.Sort(left)
	if o.contents {
		fmt.Println(strings.Join(left, "\n"))
		return nil
	}
	return leftOver(left)
}

func leftOver(left []string) error {
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("left over:\n%s", strings.Join(left, "\n"))
}

// sweepAhead sweeps as if the time had come, and the same time again: an expired upload is looked at
// twice, and a repository that loses its last manifest leaves the catalog one grace later.
func sweepAhead(ctx context.Context, s store, later time.Duration) error {
	meta, blobs := s.ports()
	for i := range 4 {
		now := func() time.Time { return time.Now().Add(time.Duration(i+1) * later) }
		reg := registry.New(meta, blobs, registry.Options{Now: now})
		report, err := sweep.Run(ctx, reg, nil)
		if err != nil {
			return err
		}
		fmt.Printf("swept: %+v\n", report)
	}
	return nil
}
