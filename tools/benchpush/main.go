// Command benchpush measures "pierless push" against the transfer manager of the AWS SDK:
// both send the same files to the same S3 server, in turns, each as a process of its own.
// scripts/bench-push.sh starts what it needs.
//
// It must not know the packages of Pierless, only the command; and it is a module of its
// own, because nothing of ours needs the transfer manager.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// settings are what the flags say.
type settings struct {
	pierless string // the command
	work     string // a folder for the files
	files    int
	size     int64 // of each file, in bytes
	rounds   int
	check    bool
}

// The bar that -check holds pierless to.
const (
	leastRatio = 0.85      // of the transfer manager's throughput
	mostMemory = 256 << 20 // bytes, resident
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == uploadCommand {
		exit(upload(context.Background(), os.Args[2:]))
	}
	s := settings{}
	flag.StringVar(&s.pierless, "pierless", "bin/pierless", "the command")
	flag.StringVar(&s.work, "work", "", "folder for the files, as large as they are")
	flag.IntVar(&s.files, "files", 8, "number of layers")
	flag.Int64Var(&s.size, "size", 256<<20, "size of each, in bytes")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each sends them")
	flag.BoolVar(&s.check, "check", false, "fail if pierless is more than 15 % slower, or takes more than 256 MiB of memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, s))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchpush:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
