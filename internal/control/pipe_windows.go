package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// Listen opens the control channel of the state directory: a named pipe that
// this process's user, SYSTEM and the Administrators may use. If somebody
// listens there already, the error wraps ErrInUse.
func Listen(stateDir string) (net.Listener, error) {
	l, err := listen(stateDir)
	if err != nil {
		return nil, fmt.Errorf("open the control channel of %s: %w", stateDir, err)
	}
	return l, nil
}

func listen(stateDir string) (net.Listener, error) {
	name, err := pipeName(stateDir)
	if err != nil {
		return nil, err
	}
	owner, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("find out the user of this process: %w", err)
	}
	l, err := winio.ListenPipe(name, &winio.PipeConfig{
		// Protected; generic all for SYSTEM, the Administrators and the user.
		SecurityDescriptor: "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;" + owner.User.Sid.String() + ")",
	})
	if err == nil {
		return l, nil
	}

	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	probe, dialErr := dial(ctx, stateDir)
	if dialErr != nil {
		return nil, err
	}
	return nil, errors.Join(ErrInUse, probe.Close())
}

func dial(ctx context.Context, stateDir string) (net.Conn, error) {
	name, err := pipeName(stateDir)
	if err != nil {
		return nil, err
	}
	conn, err := winio.DialPipeContext(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s", ErrNoDaemon, stateDir)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the daemon at %s: %w", stateDir, err)
	}
	return conn, nil
}

// pipeName derives the name from the directory, however its path is written.
func pipeName(stateDir string) (string, error) {
	path, err := filepath.Abs(stateDir)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	sum := sha256.Sum256([]byte(strings.ToLower(path)))
	return `\\.\pipe\postroom-` + hex.EncodeToString(sum[:16]), nil
}
