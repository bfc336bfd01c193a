package tmpfs

import "syscall"

// free returns the free bytes of a file system in memory; 0 if there is none at path.
func free(path string) int64 {
	const tmpfsMagic = 0x01021994
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil || int64(s.Type) != tmpfsMagic { //nolint:unconvert // int32 on some systems
		return 0
	}
	return int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert,gosec // the types differ between systems
}
