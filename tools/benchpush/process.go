package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// usage is what a process took.
type usage struct {
	seconds float64
	memory  int64 // bytes resident, the most at any time
}

// measure runs a program to its end. env is added to the environment.
func measure(ctx context.Context, env []string, program string, args ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	used := usage{seconds: time.Since(start).Seconds()}
	if err != nil {
		return used, fmt.Errorf("%s %s: %w\n%s", program, args[0], err, out)
	}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		used.memory = r.Maxrss << 10 // Linux counts in KiB
	}
	return used, nil
}

// registry is "pierless serve" over a bucket and a table.
type registry struct {
	address string
	log     string
	cmd     *exec.Cmd
}

// startRegistry makes the table, too, under the name of the bucket.
func startRegistry(ctx context.Context, pierless, bucket, log string) (*registry, error) {
	if out, err := exec.CommandContext(ctx, pierless, "init", "--bucket", bucket, "--table", bucket).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pierless init: %w\n%s", err, out)
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r := &registry{address: address, log: log}
	r.cmd = exec.Command(pierless, "serve", "--listen", address, "--bucket", bucket, "--table", bucket)
	r.cmd.Stdout, r.cmd.Stderr = file, file
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get("http://" + address + "/healthz"); err == nil {
			resp.Body.Close()
			return r, nil
		}
	}
	r.stop()
	return nil, errors.Join(errors.New("pierless serve does not answer:\n"+string(r.tail())), ctx.Err())
}

func (r *registry) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = r.cmd.Wait()                          // what it ended with changes nothing here
}

// tail is the end of the log.
func (r *registry) tail() []byte {
	content, err := os.ReadFile(r.log)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], nil)
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
