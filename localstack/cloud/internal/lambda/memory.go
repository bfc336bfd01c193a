package lambda

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// memory is the memory use of a process, in bytes.
type memory struct{ now, peak int64 }

// memoryOf reads the resident set size of a process. Lambda counts the whole sandbox, of
// which a static binary is nearly all.
func memoryOf(pid int) (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	now, err := kilobytes(status, "VmRSS:")
	if err != nil {
		return memory{}, err
	}
	peak, err := kilobytes(status, "VmHWM:")
	return memory{now: now << 10, peak: peak << 10}, err
}

func kilobytes(status []byte, field string) (int64, error) {
	_, rest, ok := bytes.Cut(status, []byte("\n"+field))
	value, _, _ := bytes.Cut(rest, []byte(" kB"))
	if !ok {
		return 0, fmt.Errorf("no %s in the status of the process", field) // it has ended
	}
	return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
}
