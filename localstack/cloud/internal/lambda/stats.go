package lambda

import (
	"errors"
	"time"
)

// Stats are counts of a function since the start.
type Stats struct {
	Invocations   int   `json:"invocations"`
	ColdStarts    int   `json:"coldStarts"`
	Errors        int   `json:"errors"` // of all types, including those below
	Timeouts      int   `json:"timeouts"`
	OutOfMemory   int   `json:"outOfMemory"`
	Throttles     int   `json:"throttles"`
	BytesIn       int64 `json:"bytesIn"`  // payloads of requests
	BytesOut      int64 `json:"bytesOut"` // payloads of responses
	BilledMillis  int64 `json:"billedMillis"`
	InitMillisMax int64 `json:"initMillisMax"`
	MemoryMax     int64 `json:"memoryMax"` // bytes
	Instances     int   `json:"instances"` // current
	InstancesMax  int   `json:"instancesMax"`
}

// Stats returns the counts so far.
func (f *Function) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Instances = len(f.all)
	return s
}

// account counts an invocation and logs Lambda's REPORT line for it. Billed time
// includes the initialization.
func (f *Function) account(i *instance, inv *invocation, cold bool, r report) {
	billed := r.duration
	attrs := []any{"function", f.config.Name, "instance", i.id, "request", inv.id}
	if cold {
		billed += i.init
		attrs = append(attrs, "init", i.init.Round(10*time.Microsecond))
	}
	millis := (billed + time.Millisecond - 1).Milliseconds()
	attrs = append(attrs, "duration", r.duration.Round(10*time.Microsecond), "billed_ms", millis,
		"memory_mb", f.config.Memory, "max_memory_mb", (r.memory+1<<20-1)>>20)
	if r.err != nil {
		attrs = append(attrs, "error", r.err.Error())
	}
	f.config.Log.Info("REPORT", attrs...)

	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.stats
	s.Invocations++
	s.BytesIn += int64(len(inv.payload))
	s.BytesOut += int64(len(r.payload))
	s.BilledMillis += millis
	s.MemoryMax = max(s.MemoryMax, r.memory)
	s.InstancesMax = max(s.InstancesMax, len(f.all))
	if cold {
		s.ColdStarts++
		s.InitMillisMax = max(s.InitMillisMax, i.init.Milliseconds())
	}
	var failure *FunctionError
	if errors.As(r.err, &failure) {
		s.Errors++
		switch failure.Type {
		case typeTimeout:
			s.Timeouts++
		case typeMemory:
			s.OutOfMemory++
		}
	}
}
