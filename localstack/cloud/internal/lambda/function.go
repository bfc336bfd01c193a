package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Config describes a function. Everything but Args and Env must be set.
type Config struct {
	Name, ARN string
	// Binary is the bootstrap, started with Args.
	Binary string
	Args   []string
	// Env is the environment without the variables that Lambda sets.
	Env         map[string]string
	Region      string
	Memory      int // MB
	Timeout     time.Duration
	Concurrency int           // concurrency limit
	Idle        time.Duration // an instance is stopped after it was idle for this time
	Log         *slog.Logger
	Output      io.Writer // receives the functions' output in whole lines; must be safe for concurrent use
}

// initTimeout limits the time until an instance polls for its first invocation. Lambda
// allows 10 seconds, but on a machine without other load.
const initTimeout = time.Minute

// Function is a function with its instances. Use New, and Close at the end.
type Function struct {
	config Config

	mu     sync.Mutex
	idle   []*instance // most recently used last
	all    map[*instance]bool
	closed bool
	stats  Stats
}

// New returns a function without instances; Invoke starts them.
func New(config Config) (*Function, error) {
	switch {
	case config.Binary == "" || config.Name == "" || config.Log == nil || config.Output == nil:
		return nil, errors.New("lambda: the configuration is incomplete")
	case config.Memory <= 0 || config.Timeout <= 0 || config.Concurrency <= 0 || config.Idle <= 0:
		return nil, fmt.Errorf("lambda: %s has a limit that is not positive", config.Name)
	}
	return &Function{config: config, all: map[*instance]bool{}}, nil
}

// Invoke runs the function on a payload and returns its response. The error is
// ErrTooLarge, ErrThrottled, a *FunctionError or that of ctx. When ctx ends, Invoke
// returns but the invocation continues, as on Lambda.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if len(payload) > MaxRequest {
		return nil, ErrTooLarge
	}
	i, cold, err := f.take()
	if err != nil {
		return nil, err
	}
	type result struct {
		payload []byte
		err     error
	}
	done := make(chan result, 1)
	go func() {
		out, err := f.run(i, cold, payload)
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return r.payload, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// take returns an idle instance, or a new one that has not been started (cold).
func (f *Function) take() (i *instance, cold bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, errors.New("lambda: closed")
	}
	if n := len(f.idle); n > 0 {
		i := f.idle[n-1]
		f.idle = f.idle[:n-1]
		i.reaper.Stop()
		return i, false, nil
	}
	if len(f.all) >= f.config.Concurrency {
		f.stats.Throttles++
		return nil, false, ErrThrottled
	}
	i = newInstance(&f.config)
	f.all[i] = true
	return i, true, nil
}

// run handles one invocation on an instance, then keeps or drops the instance.
func (f *Function) run(i *instance, cold bool, payload []byte) ([]byte, error) {
	inv := newInvocation(payload)
	if cold {
		if err := i.start(); err != nil {
			f.drop(i)
			f.account(i, inv, true, report{err: err})
			return nil, err
		}
	}
	r := i.invoke(inv)
	f.account(i, inv, cold, r)
	if r.usable {
		f.giveBack(i)
	} else {
		f.drop(i)
	}
	return r.payload, r.err
}

func (f *Function) giveBack(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		i.kill()
		return
	}
	f.idle = append(f.idle, i)
	i.reaper = time.AfterFunc(f.config.Idle, func() { f.reap(i) })
}

// reap stops an instance unless it was taken in the meantime.
func (f *Function) reap(i *instance) {
	f.mu.Lock()
	at := slices.Index(f.idle, i)
	if at >= 0 {
		f.idle = slices.Delete(f.idle, at, at+1)
	}
	f.mu.Unlock()
	if at >= 0 {
		f.config.Log.Info("instance stopped after idle time", "function", f.config.Name, "instance", i.id)
		f.drop(i)
	}
}

func (f *Function) drop(i *instance) {
	i.kill()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, i)
}

// Close stops all instances, including busy ones.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	f.idle = nil
	var all []*instance
	for i := range f.all {
		all = append(all, i)
	}
	f.mu.Unlock()
	for _, i := range all {
		i.kill()
	}
}

// environment returns the complete environment of an instance.
func (c *Config) environment(instance, runtimeAPI string) []string {
	memory := strconv.Itoa(c.Memory)
	env := []string{
		"AWS_LAMBDA_FUNCTION_NAME=" + c.Name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + memory, "AWS_LAMBDA_RUNTIME_API=" + runtimeAPI,
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + c.Name, "AWS_LAMBDA_LOG_STREAM_NAME=" + instance,
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
		"AWS_REGION=" + c.Region, "AWS_DEFAULT_REGION=" + c.Region, "_HANDLER=bootstrap",
		"LAMBDA_TASK_ROOT=/var/task", "LAMBDA_RUNTIME_DIR=/var/runtime",
		"LANG=en_US.UTF-8", "TZ=:UTC", "PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin",
	}
	for name, value := range c.Env {
		env = append(env, name+"="+value)
	}
	return env
}
