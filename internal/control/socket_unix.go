//go:build unix

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	socketName = "control.sock"
	// maxSocketPath is what fits in sockaddr_un.sun_path with its final zero on
	// every system: 104 bytes on the BSDs, 108 on Linux.
	maxSocketPath = 103
)

// Listen opens the control channel of the state directory, which must exist: a
// socket of mode 0600 in it. The socket that a killed daemon has left behind is
// replaced once it is certain that nobody answers there; if somebody does, the
// error wraps ErrInUse. Closing the listener removes the socket.
func Listen(stateDir string) (net.Listener, error) {
	l, err := listen(stateDir)
	if err != nil {
		return nil, fmt.Errorf("open the control channel in %s: %w", stateDir, err)
	}
	return l, nil
}

func listen(stateDir string) (net.Listener, error) {
	dir, err := os.Open(stateDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// Of two daemons that find the same dead socket, one waits here and then
	// finds the other alive.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	switch probe, err := dial(ctx, stateDir); {
	case err == nil:
		return nil, errors.Join(ErrInUse, probe.Close())
	case !errors.Is(err, ErrNoDaemon):
		return nil, err
	}
	path := filepath.Join(stateDir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	address, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{Control: restrict}).Listen(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the address is good for this function only
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &listener{Listener: l, path: path}, nil
}

// restrict sets the mode that the socket file is created with, so that there is
// no moment at which others may connect. Only Linux has this.
func restrict(_, _ string, c syscall.RawConn) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); controlErr != nil {
		return controlErr
	}
	return err
}

// listener removes its socket before it closes: the other way round it might
// remove that of its successor.
type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error {
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody has cleaned up, or this is the second Close
	}
	return errors.Join(err, l.Listener.Close())
}

func dial(ctx context.Context, stateDir string) (net.Conn, error) {
	conn, err := dialSocket(ctx, stateDir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("%w at %s", ErrNoDaemon, stateDir)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the daemon at %s: %w", stateDir, err)
	}
	return conn, nil
}

func dialSocket(ctx context.Context, stateDir string) (net.Conn, error) {
	dir, err := os.Open(stateDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	address, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "unix", address)
}

// socketAddress returns the address of the socket in the open directory. A path that
// is too long for an address is replaced by one that leads through the file
// descriptor, and so is good for as long as dir is open.
func socketAddress(dir *os.File) (string, error) {
	path := filepath.Join(dir.Name(), socketName)
	if len(path) <= maxSocketPath {
		return path, nil
	}
	if runtime.GOOS != "linux" {
		return "", fmt.Errorf("path of the socket is longer than %d bytes: choose a shorter state directory", maxSocketPath)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName), nil
}
