// Package tmpfs moves the temporary files of tests to memory. The embedded store syncs every
// write to disk, which takes most of the time of tests that use it; no test needs files to
// survive a power failure.
//
// It must not be used outside of tests.
package tmpfs

import "os"

// minFree is how many bytes must be free: containers often limit shared memory to 64 MiB.
const minFree = 2 << 30

// Use makes os.TempDir, and so testing.T.TempDir, return a directory in memory if the system
// has one with enough space. Call it in TestMain.
func Use() {
	const shared = "/dev/shm"
	if os.Getenv("TMPDIR") != "" || free(shared) < minFree {
		return
	}
	if err := os.Setenv("TMPDIR", shared); err != nil {
		panic(err)
	}
}
