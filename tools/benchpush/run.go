package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// run writes the files and lets both send them, in turns.
func run(ctx context.Context, s settings) (err error) {
	work, err := os.MkdirTemp(s.work, "bench-push-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	image, err := writeLayout(filepath.Join(work, "layout"), s.files, s.size)
	if err != nil {
		return err
	}
	b := &bench{settings: s, image: image, work: work}
	fmt.Printf("%d layers of %d MiB to %s\n", s.files, s.size>>20, os.Getenv("AWS_ENDPOINT_URL_S3"))
	if err := b.findBest(ctx); err != nil {
		return err
	}
	for round := range s.rounds {
		// Who begins changes: the disk is busiest after the first.
		both := []func(context.Context) error{b.pierless, b.manager}
		if round%2 == 1 {
			slices.Reverse(both)
		}
		for _, send := range both {
			if err := send(ctx); err != nil {
				return err
			}
		}
		fmt.Printf("round %d: pierless push %.0f MB/s, transfer manager %.0f MB/s\n",
			round+1, b.throughput(last(b.pushed)), b.throughput(last(b.managed)))
	}
	return b.report()
}

type bench struct {
	settings settings
	image    layout
	work     string

	atOnce          int     // files that the transfer manager sends at once
	pushed, managed []usage // by round
}

// findBest lets the transfer manager show how many files at once suit it best: its
// documentation says nothing, and the servers differ.
func (b *bench) findBest(ctx context.Context) error {
	var best usage
	for _, atOnce := range []int{1, 2, 4} {
		used, err := b.upload(ctx, atOnce)
		if err != nil {
			return err
		}
		fmt.Printf("transfer manager, %d files at once: %.0f MB/s\n", atOnce, b.throughput(used))
		if b.atOnce == 0 || used.seconds < best.seconds {
			b.atOnce, best = atOnce, used
		}
	}
	return nil
}

func (b *bench) manager(ctx context.Context) error {
	used, err := b.upload(ctx, b.atOnce)
	b.managed = append(b.managed, used)
	return err
}

func (b *bench) upload(ctx context.Context, atOnce int) (used usage, err error) {
	bucket, err := newBucket(ctx)
	if err != nil {
		return usage{}, err
	}
	defer func() { err = errors.Join(err, emptyBucket(context.WithoutCancel(ctx), bucket)) }()
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	args := append([]string{uploadCommand, "-bucket", bucket, "-at-once", strconv.Itoa(atOnce)}, b.image.layers...)
	return measure(ctx, nil, self, args...)
}

func (b *bench) pierless(ctx context.Context) (err error) {
	bucket, err := newBucket(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emptyBucket(context.WithoutCancel(ctx), bucket)) }()
	registry, err := startRegistry(ctx, b.settings.pierless, bucket, filepath.Join(b.work, "serve.log"))
	if err != nil {
		return err
	}
	defer registry.stop()
	// Its home is new: it begins with an empty memory of what it has pushed.
	env := []string{"HOME=" + filepath.Join(b.work, rand.Text()), "DOCKER_CONFIG=" + b.work}
	used, err := measure(ctx, env, b.settings.pierless, "push", "oci:"+b.image.dir+":v1", registry.address+"/bench/push:v1")
	b.pushed = append(b.pushed, used)
	if err != nil {
		return fmt.Errorf("%w\nend of the registry's log:\n%s", err, registry.tail())
	}
	return checkStored(ctx, bucket, b.image.total)
}

func (b *bench) report() error {
	pushed, managed := b.throughput(median(b.pushed)), b.throughput(median(b.managed))
	memory := slices.MaxFunc(b.pushed, func(x, y usage) int { return int(x.memory - y.memory) }).memory
	theirs := slices.MaxFunc(b.managed, func(x, y usage) int { return int(x.memory - y.memory) }).memory
	fmt.Printf("median of %d rounds: pierless push %.0f MB/s, transfer manager (%d files at once) %.0f MB/s: ratio %.2f\n",
		len(b.pushed), pushed, b.atOnce, managed, pushed/managed)
	fmt.Printf("peak memory: pierless push %d MiB, transfer manager %d MiB\n", memory>>20, theirs>>20)
	var errs []error
	if b.settings.check && pushed < leastRatio*managed {
		errs = append(errs, fmt.Errorf("pierless push is slower than %.0f %% of the transfer manager", 100*leastRatio))
	}
	if b.settings.check && memory >= mostMemory {
		errs = append(errs, fmt.Errorf("pierless push took %d MiB of memory, the limit is %d MiB", memory>>20, mostMemory>>20))
	}
	return errors.Join(errs...)
}

// throughput is in MB/s: 1,000,000 bytes.
func (b *bench) throughput(u usage) float64 { return float64(b.image.total) / 1e6 / u.seconds }

func last(all []usage) usage { return all[len(all)-1] }

func median(all []usage) usage {
	sorted := slices.SortedFunc(slices.Values(all), func(x, y usage) int {
		if x.seconds < y.seconds {
			return -1
		}
		return 1
	})
	return sorted[len(sorted)/2]
}

func newName() string { return "bench-" + strings.ToLower(rand.Text()) }
