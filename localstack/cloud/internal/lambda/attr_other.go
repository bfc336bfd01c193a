//go:build !linux

package lambda

import "syscall"

// processAttributes starts a process group, so that signals reach children too.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
