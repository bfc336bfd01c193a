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

// parted is the name of the file that ends a meeting.
const parted = "parted"

// meeting blocks invocations of "meet", each in its process, so that tests control which
// invocations are running and need no delays.
type meeting struct{ dir string }

func newMeeting(t *testing.T) meeting { t.Helper(); return meeting{t.TempDir()} }

func (m meeting) order() order { return order{Do: "meet", Dir: m.dir} }

func (m meeting) payload() []byte {
	b, _ := json.Marshal(m.order())
	return b
}

// wait waits until n processes have joined the meeting.
func (m meeting) wait(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d processes meet", n), func() bool {
		there, err := os.ReadDir(m.dir)
		return err == nil && len(there) == n
	})
}

// part ends the meeting.
func (m meeting) part(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, parted), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// patience only limits the duration of a test that hangs.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to it that %s", what)
		}
	}
}

// wantFrozen fails unless the process stops soon: the kernel may deliver the signal later.
func wantFrozen(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "the process is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(stat), ") ") // after the name
		return err == nil && strings.HasPrefix(state, "T")
	})
}

// meet joins a meeting and waits for its end.
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
