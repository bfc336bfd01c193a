//go:build linux || darwin || freebsd

package proxy

import "syscall"

// diskSpace returns the free space for this user on the disk of a directory, and the size of the
// disk, in bytes.
func diskSpace(dir string) (free, size int64, known bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), true
}
