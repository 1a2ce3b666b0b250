package faultnet

import (
	"syscall"
	"time"
)

// sleep waits more exactly than a timer of the runtime, which may be late by
// more than a millisecond.
func sleep(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}
