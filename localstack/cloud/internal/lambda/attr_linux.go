package lambda

import "syscall"

// processAttributes: a group of its own, so that its children are stopped with it,
// and it dies with us. A frozen process would notice nothing otherwise.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
