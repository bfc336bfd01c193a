package lambda

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Error types that Lambda itself reports.
const (
	typeExit     = "Runtime.ExitError"
	typeTimeout  = "Sandbox.Timedout"
	typeMemory   = "Runtime.OutOfMemory"
	typeResponse = "Function.ResponseSizeTooLarge"
)

// watchEvery is the interval of memory checks on a busy instance. The kernel's peak value
// covers the time in between.
const watchEvery = 20 * time.Millisecond

// instance is one execution environment: a process with its own runtime API.
type instance struct {
	id     string
	config *Config
	reaper *time.Timer   // while it is idle
	init   time.Duration // from the start of the process to its first poll

	pid    int // 0: not started
	server *http.Server
	polled chan struct{}    // the process polls for an invocation
	work   chan *invocation // delivers it to the waiting poll
	exited chan struct{}    // closed when the process has ended
	failed chan *FunctionError

	mu      sync.Mutex
	current *invocation
	killed  bool
	status  error // of the process; read only after exited is closed
}

// invocation is one call of the function.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answered chan answer
}

type answer struct {
	payload []byte
	err     *FunctionError
}

// report is the outcome of an invocation.
type report struct {
	payload  []byte
	err      error
	duration time.Duration
	memory   int64 // peak of the process, bytes
	usable   bool  // the instance can take another one
}

func newInvocation(payload []byte) *invocation {
	return &invocation{id: newID(), payload: payload, answered: make(chan answer, 1)}
}

func newInstance(config *Config) *instance {
	return &instance{
		id: newID()[:8], config: config,
		polled: make(chan struct{}, 1), work: make(chan *invocation),
		exited: make(chan struct{}), failed: make(chan *FunctionError, 1),
	}
}

// newID returns an ID in the format of AWS's request IDs.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // documented never to fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// start starts the process and waits until it polls for its first invocation.
func (i *instance) start() error {
	began := time.Now()
	defer func() { i.init = time.Since(began) }()
	if err := i.launch(); err != nil {
		close(i.exited)
		return &FunctionError{Type: "Runtime.InvalidEntrypoint", Message: err.Error()}
	}
	timeout := time.NewTimer(initTimeout)
	defer timeout.Stop()
	select {
	case <-i.polled:
		return nil
	case err := <-i.failed:
		return err
	case <-i.exited:
		return i.exitError("")
	case <-timeout.C:
		return &FunctionError{Type: typeTimeout, Message: fmt.Sprintf("the initialization took longer than %v", initTimeout)}
	}
}

// launch starts the runtime API and the process.
func (i *instance) launch() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.killed {
		return errors.New("the runner is stopping")
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	i.server = &http.Server{Handler: i.api(), ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(listener) }() // ends when kill closes the server
	output := &lineWriter{to: i.config.Output, prefix: "[" + i.config.Name + " " + i.id + "] "}
	command := exec.Command(i.config.Binary, i.config.Args...)
	command.Env = i.config.environment(i.id, listener.Addr().String())
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = processAttributes()
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		_ = i.server.Close()
		return err
	}
	i.pid = command.Process.Pid
	go func() {
		i.status = command.Wait()
		output.flush()
		close(i.exited)
	}()
	return nil
}

// invoke delivers one invocation to the waiting poll of the process and watches the
// process until it polls again.
func (i *instance) invoke(inv *invocation) report {
	began := time.Now()
	inv.deadline = began.Add(i.config.Timeout)
	i.setCurrent(inv)
	defer i.setCurrent(nil)
	i.signal(syscall.SIGCONT)
	timeout := time.NewTimer(i.config.Timeout)
	defer timeout.Stop()
	r := report{}
	select {
	case i.work <- inv:
		r = i.watch(inv, timeout.C)
	case <-i.exited:
		r.err = i.exitError(inv.id)
	case <-timeout.C:
		r.err = i.timeoutError(inv.id)
	}
	r.duration = time.Since(began)
	if r.usable {
		i.signal(syscall.SIGSTOP)
	}
	return r
}

func (i *instance) watch(inv *invocation, timeout <-chan time.Time) report {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var r report
	var got *answer
	over := func() bool {
		if m, err := memoryOf(i.pid); err == nil { // on an error the process has just ended
			r.memory = max(r.memory, m.now, m.peak)
		}
		return r.memory > int64(i.config.Memory)<<20
	}
	for {
		select {
		case a := <-inv.answered:
			got = &a
			continue
		case <-ticker.C:
			if !over() {
				continue
			}
			r.err = i.memoryError(inv.id)
		case <-timeout:
			r.err = i.timeoutError(inv.id)
		case <-i.polled:
			r.payload, r.err = i.outcome(inv, got)
			var failure *FunctionError
			r.usable = !errors.As(r.err, &failure) || failure.Type != typeExit
			if over() {
				r.payload, r.err, r.usable = nil, i.memoryError(inv.id), false
			}
		case <-i.exited:
			// An earlier answer counts: a function that panics reports the panic and then exits.
			r.payload, r.err = i.outcome(inv, got)
		}
		return r
	}
}

// outcome returns the function's answer, or an error if there was none.
func (i *instance) outcome(inv *invocation, got *answer) ([]byte, error) {
	if got == nil {
		select {
		case a := <-inv.answered: // select saw the other channel first
			got = &a
		default:
			return nil, i.exitError(inv.id)
		}
	}
	if got.err != nil {
		return nil, got.err
	}
	return got.payload, nil
}

func (i *instance) exitError(request string) *FunctionError {
	why := "it polled without an answer"
	select {
	case <-i.exited:
		why = "exit status 0"
		if i.status != nil {
			why = i.status.Error()
		}
	default:
	}
	return &FunctionError{Type: typeExit, Message: "RequestId: " + request + " Error: Runtime exited with error: " + why}
}

func (i *instance) timeoutError(request string) *FunctionError {
	return &FunctionError{Type: typeTimeout, Message: fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", request, i.config.Timeout.Seconds())}
}

func (i *instance) memoryError(request string) *FunctionError {
	return &FunctionError{Type: typeMemory, Message: "RequestId: " + request + " Error: Runtime exited with error: signal: killed"}
}

// signal signals the process and its children. It does nothing if the process has ended.
func (i *instance) signal(s syscall.Signal) {
	select {
	case <-i.exited: // another process may have the ID by now
	default:
		_ = syscall.Kill(-i.pid, s)
	}
}

// kill stops the instance and waits until its process has ended.
func (i *instance) kill() {
	i.mu.Lock()
	i.killed = true
	pid, server := i.pid, i.server
	i.mu.Unlock()
	if pid != 0 {
		i.signal(syscall.SIGKILL)
		<-i.exited
	}
	if server != nil {
		_ = server.Close()
	}
}

func (i *instance) setCurrent(inv *invocation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = inv
}

func (i *instance) currentIf(id string) *invocation {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current != nil && i.current.id == id {
		return i.current
	}
	return nil
}
