//go:build unix

package main

import (
	"os"
	"syscall"
)

// reloadSignal asks the daemon to take up its changed configuration.
var reloadSignal os.Signal = syscall.SIGHUP
