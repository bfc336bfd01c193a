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

// patience is how long a function gets for everything it does here.
const patience = time.Minute

// start is what one start of a function took.
type start struct {
	Init    time.Duration // from exec to the function's first question for work
	First   time.Duration // from exec to the answer to its first event
	PeakRSS int64         // bytes
}

// runtimeAPI is as much of Lambda's runtime API as a Go function uses: it hands out
// events one by one and takes the answers.
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
			_, _ = w.Write(event) // the function's end is seen by its exit
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
	exited  chan struct{} // closed at the end
	started time.Time
	log     *strings.Builder
	result  start
}

// launch starts a function and waits until it asks for work.
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
		_ = s.server.Close() // nothing was asked of it
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // it is ended by a signal, or its log says why
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
	return nil, fmt.Errorf("%s did not ask for work: %s", binary, s.log)
}

// send hands the function an event and returns its answer.
func (s *session) send(event []byte) ([]byte, error) {
	timeout := time.After(patience)
	select {
	case s.api.events <- event:
	case <-s.exited:
		return nil, fmt.Errorf("the function ended: %s", s.log)
	case <-timeout:
		return nil, fmt.Errorf("the function takes no event: %s", s.log)
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
		return nil, fmt.Errorf("the function does not answer: %s", s.log)
	}
}

// end stops the function and returns what was measured.
func (s *session) end() start {
	_ = s.cmd.Process.Signal(os.Kill) // it may have ended
	<-s.exited
	_ = s.server.Close()
	if usage, ok := s.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.result.PeakRSS = usage.Maxrss << 10
	}
	return s.result
}
