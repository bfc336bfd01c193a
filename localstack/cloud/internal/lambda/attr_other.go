//go:build !linux

package lambda

import "syscall"

// processAttributes: a group of its own, so that its children are stopped with it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
