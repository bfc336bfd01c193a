package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// patience is the timeout of each step of a function.
const patience = time.Minute

// start is the result of one start of a function.
type start struct {
	Init    time.Duration // from exec to the function's first poll
	First   time.Duration // from exec to the response to its first event
	PeakRSS int64         // bytes
}

// runtimeAPI is the part of Lambda's runtime API that a Go function uses.
type runtimeAPI struct {
	events  chan []byte
	asked   chan time.Time
	answers chan answer
}

type answer struct {
	at   time.Time
	body []byte
	err  error
}

// ServeHTTP implements http.Handler.
func (a runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/")
	if path == "next" {
		a.asked <- time.Now()
		select {
		case event := <-a.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "cold")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(29*time.Second).UnixMilli()))
			_, _ = w.Write(event) // on an error the function has exited, which send notices
		case <-r.Context().Done():
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil && !strings.HasSuffix(path, "/response") {
		err = fmt.Errorf("the function failed: %s", body)
	}
	a.answers <- answer{time.Now(), body, err}
	w.WriteHeader(http.StatusAccepted)
}

// session is one running function.
type session struct {
	api     runtimeAPI
	cmd     *exec.Cmd
	server  *http.Server
	exited  chan struct{} // closed when the process has ended
	started time.Time
	log     *strings.Builder
	result  start
}

// launch starts a function and waits until it polls for work.
func launch(binary string, environment []string) (*session, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &session{
		api:    runtimeAPI{make(chan []byte), make(chan time.Time, 64), make(chan answer, 64)},
		cmd:    exec.Command(binary),
		exited: make(chan struct{}),
		log:    &strings.Builder{},
	}
	s.server = &http.Server{Handler: s.api, ReadHeaderTimeout: patience}
	go func() { _ = s.server.Serve(listener) }() // ends with close
	s.cmd.Env = append(environment, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.started = time.Now()
	if err := s.cmd.Start(); err != nil {
		_ = s.server.Close() // has no requests
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // end kills it, or the log has the cause
		close(s.exited)
	}()
	select {
	case at := <-s.api.asked:
		s.result.Init = at.Sub(s.started)
		return s, nil
	case <-s.exited:
	case <-time.After(patience):
	}
	s.end()
	return nil, fmt.Errorf("%s did not poll for work: %s", binary, s.log)
}

// send sends the function an event and returns its response.
func (s *session) send(event []byte) ([]byte, error) {
	timeout := time.After(patience)
	select {
	case s.api.events <- event:
	case <-s.exited:
		return nil, fmt.Errorf("the function ended: %s", s.log)
	case <-timeout:
		return nil, fmt.Errorf("the function does not poll: %s", s.log)
	}
	select {
	case a := <-s.api.answers:
		if s.result.First == 0 {
			s.result.First = a.at.Sub(s.started)
		}
		return a.body, a.err
	case <-s.exited:
		return nil, fmt.Errorf("the function ended: %s", s.log)
	case <-timeout:
		return nil, fmt.Errorf("the function does not respond: %s", s.log)
	}
}

// end stops the function and returns the measurements.
func (s *session) end() start {
	_ = s.cmd.Process.Signal(os.Kill) // fails if it has ended
	<-s.exited
	_ = s.server.Close()
	if usage, ok := s.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.result.PeakRSS = usage.Maxrss << 10
	}
	return s.result
}
