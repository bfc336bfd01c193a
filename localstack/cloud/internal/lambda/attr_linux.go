package lambda

import "syscall"

// processAttributes starts a process group, so that signals reach children too, and has
// the kernel kill the process when this one dies: a frozen process cannot exit itself.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
