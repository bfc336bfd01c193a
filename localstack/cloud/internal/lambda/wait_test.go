package lambda

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// parted is the file that ends the wait of all that meet in a folder.
const parted = "parted"

// meeting holds invocations of "meet" back, each in its process: so tests know what is
// under way and need no times.
type meeting struct{ dir string }

func newMeeting(t *testing.T) meeting { t.Helper(); return meeting{t.TempDir()} }

func (m meeting) order() order { return order{Do: "meet", Dir: m.dir} }

func (m meeting) payload() []byte {
	b, _ := json.Marshal(m.order())
	return b
}

// wait waits until so many processes are there.
func (m meeting) wait(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d processes meet", n), func() bool {
		there, err := os.ReadDir(m.dir)
		return err == nil && len(there) == n
	})
}

// part lets all of them go on.
func (m meeting) part(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, parted), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// patience ends a test that would hang. Nothing else depends on it.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to it that %s", what)
		}
	}
}

// wantFrozen fails unless the process is stopped. The signal is under way at once, and
// the kernel takes its time.
func wantFrozen(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "the process is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(stat), ") ") // behind the name
		return err == nil && strings.HasPrefix(state, "T")
	})
}

// meet is what a function does that takes part in a meeting.
func meet(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(os.Getpid())), nil, 0o600); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, parted)); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}
