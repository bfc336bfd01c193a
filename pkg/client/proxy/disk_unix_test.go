//go:build linux || darwin || freebsd

package proxy

import (
	"errors"
	"math"
	"testing"
)

// TestDiskSpace: the spool leaves free space on its disk, whatever its limit is.
func TestDiskSpace(t *testing.T) {
	free, size, known := diskSpace(t.TempDir())
	if !known || free < 1<<20 || size < free {
		t.Errorf("%d of %d bytes are free, known %v", free, size, known)
	}
	if _, _, known := diskSpace(t.TempDir() + "/missing"); known {
		t.Error("the disk of a missing directory is known")
	}
	s := &spool{dir: t.TempDir(), limit: math.MaxInt64}
	if err := s.reserve(size); !errors.Is(err, errSpoolFull) || s.used != 0 {
		t.Errorf("all %d bytes of the disk were taken: %v", s.used, err)
	}
}

// TestLeavesRoom: 1 GiB stays free, or a twentieth of a small disk.
func TestLeavesRoom(t *testing.T) {
	for _, tt := range []struct {
		free, size int64
		want       bool
	}{
		{1 << 30, 1 << 40, true},
		{1<<30 - 1, 1 << 40, false},
		{100, 2000, true},
		{99, 2000, false},
		{-1, 2000, false},
	} {
		if leavesRoom(tt.free, tt.size) != tt.want {
			t.Errorf("%d of %d bytes stay free: room is left: %v", tt.free, tt.size, !tt.want)
		}
	}
}
