package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	runtime "github.com/aws/aws-lambda-go/lambda"
)

// The test binary is also the bootstrap of the function: with a runtime API in its
// environment, it serves invocations.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		serveFunction()
	}
	os.Exit(m.Run())
}

type order struct {
	Do   string
	Size int
	Dir  string // of "meet"
}

func serveFunction() {
	if os.Getenv("INIT") == "exit" {
		fmt.Println("cannot start")
		os.Exit(3)
	}
	var keep [][]byte
	calls := 0
	runtime.Start(func(ctx context.Context, o order) (any, error) {
		calls++
		switch o.Do {
		case "hang":
			time.Sleep(time.Hour)
		case "meet":
			if err := meet(o.Dir); err != nil {
				return nil, err
			}
		case "exit":
			os.Exit(o.Size)
		case "panic":
			panic("no way out")
		case "error":
			return nil, errors.New("not today")
		case "size":
			return strings.Repeat("x", o.Size), nil
		case "grow":
			for range o.Size >> 20 {
				block := make([]byte, 1<<20)
				for i := range block {
					block[i] = byte(i)
				}
				keep = append(keep, block)
			}
		case "environment":
			return os.Environ(), nil
		case "deadline":
			deadline, _ := ctx.Deadline()
			return time.Until(deadline).Milliseconds(), nil
		case "print":
			fmt.Println("hello from the function")
		}
		return map[string]int{"calls": calls, "pid": os.Getpid()}, nil
	})
}

type answerOfFunction struct{ Calls, PID int }

type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newFunction(t *testing.T, change func(*Config)) (*Function, *buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &buffer{}
	c := Config{
		Name: "TestFunction", ARN: "arn:aws:lambda:us-east-1:000000000000:function:TestFunction",
		Binary: self, Env: map[string]string{"OWN": "value"}, Region: "us-east-1", Memory: 512,
		Timeout: patience, Concurrency: 20, Idle: time.Hour,
		Log: slog.New(slog.NewTextHandler(out, nil)), Output: out,
	}
	if change != nil {
		change(&c)
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, out
}

func invoke(t *testing.T, f *Function, o order) (answerOfFunction, error) {
	t.Helper()
	payload, _ := json.Marshal(o)
	out, err := f.Invoke(t.Context(), payload)
	var a answerOfFunction
	if err == nil {
		_ = json.Unmarshal(out, &a)
	}
	return a, err
}

func wantType(t *testing.T, err error, kind string) {
	t.Helper()
	var failure *FunctionError
	if !errors.As(err, &failure) || failure.Type != kind {
		t.Errorf("error %v, want type %s", err, kind)
	}
}

func TestInstancesAreReusedAndFrozen(t *testing.T) {
	f, out := newFunction(t, nil)
	first, err := invoke(t, f, order{})
	if err != nil {
		t.Fatal(err)
	}
	wantFrozen(t, first.PID)
	second, err := invoke(t, f, order{})
	if err != nil {
		t.Fatal(err)
	}
	if second.PID != first.PID || second.Calls != 2 {
		t.Errorf("first %+v, second %+v: not the same instance", first, second)
	}
	wantFrozen(t, second.PID)
	s := f.Stats()
	if s.Invocations != 2 || s.ColdStarts != 1 || s.Instances != 1 || s.MemoryMax == 0 || s.BytesIn == 0 || s.BytesOut == 0 {
		t.Errorf("stats %+v", s)
	}
	if log := out.String(); strings.Count(log, "msg=REPORT") != 2 || strings.Count(log, " init=") != 1 {
		t.Errorf("one cold start and two reports are expected in the log:\n%s", log)
	}
}

func TestEnvironmentIsNotInherited(t *testing.T) {
	t.Setenv("OF_THE_TEST", "1")
	f, _ := newFunction(t, nil)
	out, err := f.Invoke(t.Context(), []byte(`{"Do":"environment"}`))
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for _, want := range []string{`"OWN=value"`, `"AWS_REGION=us-east-1"`, `"AWS_LAMBDA_FUNCTION_NAME=TestFunction"`, `"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
	for _, not := range []string{"OF_THE_TEST", "HOME=", "GOPATH"} {
		if strings.Contains(text, not) {
			t.Errorf("%s was inherited", not)
		}
	}
}

func TestScalesOut(t *testing.T) {
	const parallel = 20
	f, _ := newFunction(t, nil)
	var group sync.WaitGroup
	pids, all := make([]int, parallel), newMeeting(t)
	for n := range parallel {
		group.Go(func() {
			a, err := invoke(t, f, all.order())
			if err != nil {
				t.Error(err)
			}
			pids[n] = a.PID
		})
	}
	all.wait(t, parallel)
	all.part(t)
	group.Wait()
	seen := map[int]bool{}
	for _, pid := range pids {
		seen[pid] = true
	}
	if s := f.Stats(); len(seen) != parallel || s.InstancesMax != parallel || s.ColdStarts != parallel {
		t.Errorf("%d instances for %d invocations: %+v", len(seen), parallel, s)
	}
}

func TestThrottles(t *testing.T) {
	f, _ := newFunction(t, func(c *Config) { c.Concurrency = 1 })
	if _, err := invoke(t, f, order{}); err != nil {
		t.Fatal(err)
	}
	done, busy := make(chan error, 1), newMeeting(t)
	go func() {
		_, err := f.Invoke(t.Context(), busy.payload())
		done <- err
	}()
	busy.wait(t, 1)
	if _, err := invoke(t, f, order{}); !errors.Is(err, ErrThrottled) {
		t.Errorf("error %v, want ErrThrottled", err)
	}
	busy.part(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := invoke(t, f, order{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*Config)
		order    order
		kind     string
		survives bool
	}{
		"timeout":        {nil, order{Do: "hang"}, typeTimeout, false},
		"exit":           {nil, order{Do: "exit", Size: 7}, typeExit, false},
		"clean exit":     {nil, order{Do: "exit"}, typeExit, false},
		"panic":          {nil, order{Do: "panic"}, "string", false},
		"error":          {nil, order{Do: "error"}, "errorString", true},
		"memory":         {func(c *Config) { c.Memory = 96 }, order{Do: "grow", Size: 200 << 20}, typeMemory, false},
		"large response": {nil, order{Do: "size", Size: MaxResponse}, typeResponse, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := newFunction(t, c.change)
			first, err := invoke(t, f, order{})
			if err != nil {
				t.Fatal(err)
			}
			if c.kind == typeTimeout { // only this case runs into the timeout
				f.config.Timeout = 100 * time.Millisecond
			}
			_, err = invoke(t, f, c.order)
			f.config.Timeout = patience
			wantType(t, err, c.kind)
			after, err := invoke(t, f, order{})
			if err != nil {
				t.Fatal(err)
			}
			if same := after.PID == first.PID; same != c.survives && name != "large response" {
				t.Errorf("the same instance afterwards: %v, want %v", same, c.survives)
			}
			if s := f.Stats(); s.Errors != 1 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

func TestInitFailures(t *testing.T) {
	f, out := newFunction(t, func(c *Config) { c.Env["INIT"] = "exit" })
	_, err := invoke(t, f, order{})
	wantType(t, err, typeExit)
	if !strings.Contains(out.String(), "cannot start") {
		t.Errorf("its output is not in the log:\n%s", out)
	}
	f, _ = newFunction(t, func(c *Config) { c.Binary = "/does/not/exist" })
	_, err = invoke(t, f, order{})
	wantType(t, err, "Runtime.InvalidEntrypoint")
	if s := f.Stats(); s.Instances != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestPayloadLimits(t *testing.T) {
	f, _ := newFunction(t, nil)
	request := func(size int) []byte {
		return []byte(`{"Do":"` + strings.Repeat("x", size-len(`{"Do":""}`)) + `"}`)
	}
	if _, err := f.Invoke(t.Context(), request(MaxRequest)); err != nil {
		t.Errorf("largest request: %v", err)
	}
	if _, err := f.Invoke(t.Context(), request(MaxRequest+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
	payload, _ := json.Marshal(order{Do: "size", Size: MaxResponse - 2}) // two quotes
	if out, err := f.Invoke(t.Context(), payload); err != nil || len(out) != MaxResponse {
		t.Errorf("largest response: %d bytes, %v", len(out), err)
	}
}

func TestDeadlineReachesTheFunction(t *testing.T) {
	f, _ := newFunction(t, func(c *Config) { c.Timeout = 10 * time.Hour })
	out, err := f.Invoke(t.Context(), []byte(`{"Do":"deadline"}`))
	var left int64
	if json.Unmarshal(out, &left) != nil || err != nil || left > (10*time.Hour).Milliseconds() || left < (9*time.Hour).Milliseconds() {
		t.Errorf("%s ms left, %v", out, err)
	}
}

func TestIdleInstancesEnd(t *testing.T) {
	f, _ := newFunction(t, func(c *Config) { c.Idle = 50 * time.Millisecond })
	if _, err := invoke(t, f, order{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance has ended", func() bool { return f.Stats().Instances == 0 })
}

func TestInvocationOutlivesItsCaller(t *testing.T) {
	f, _ := newFunction(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	done, busy := make(chan error, 1), newMeeting(t)
	go func() {
		_, err := f.Invoke(ctx, busy.payload())
		done <- err
	}()
	busy.wait(t, 1)
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	busy.part(t)
	eventually(t, "the invocation ends", func() bool { return f.Stats().Invocations == 1 })
	if s := f.Stats(); s.Errors != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCloseEndsBusyInstances(t *testing.T) {
	f, _ := newFunction(t, nil)
	done, busy := make(chan error, 1), newMeeting(t)
	go func() {
		_, err := f.Invoke(t.Context(), busy.payload())
		done <- err
	}()
	busy.wait(t, 1)
	f.Close()
	wantType(t, <-done, typeExit)
}

func TestOutputIsPassedOnInLines(t *testing.T) {
	f, out := newFunction(t, nil)
	if _, err := invoke(t, f, order{Do: "print"}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if !strings.Contains(out.String(), "] hello from the function\n") {
		t.Errorf("the log has no such line:\n%s", out)
	}
}
