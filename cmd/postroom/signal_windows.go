package main

import "os"

// reloadSignal is nil: Windows has none; postroom service reload asks instead.
var reloadSignal os.Signal
