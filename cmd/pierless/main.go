// Command pierless runs a private OCI registry, prepares its storage, and has tools for clients.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first Ctrl-C, a second one kills the process.
	context.AfterFunc(ctx, stop)
	root := newRoot(os.Getenv)
	root.SetArgs(arguments(os.Args))
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pierless:", err)
		os.Exit(exitCode(err))
	}
}

// arguments returns the arguments of the command. Under the name of docker's credential helper it
// is that helper.
func arguments(args []string) []string {
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "docker-credential-"+helperName {
		return append([]string{"docker-credential"}, args[1:]...)
	}
	return args[1:]
}

// status2 is an error with the exit status 2: an error in the command line, or a registry
// that could not be tested.
type status2 struct{ error }

func (status2) ExitCode() int   { return 2 }
func (e status2) Unwrap() error { return e.error }

// exitCode returns the exit code of an error with an ExitCode method, else 1.
func exitCode(err error) int {
	var e interface{ ExitCode() int }
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return 1
}
