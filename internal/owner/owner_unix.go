//go:build unix

package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Adopt makes this process run as the owner of the directory, with the owner's
// groups, for the rest of its life, if it runs as root and the directory exists
// and is another user's. In every other case it does nothing. An owner who has
// no entry in the user database gets the directory's group alone.
//
// Call it once everything that only root may read has been read, and before the
// first file is written. After an error the process may be of neither user:
// end it.
func Adopt(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the owner of the folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is a file, not a folder", dir)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("find the owner of the folder: %s has none", dir)
	}
	if stat.Uid == 0 {
		return nil
	}
	gid, groups, err := groupsOf(stat)
	if err != nil {
		return fmt.Errorf("look up the groups of user %d: %w", stat.Uid, err)
	}
	return become(int(stat.Uid), gid, groups)
}

// groupsOf returns the primary group and all groups of the owner.
func groupsOf(stat *syscall.Stat_t) (primary int, all []int, err error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(stat.Uid), 10))
	var unknown user.UnknownUserIdError
	if errors.As(err, &unknown) {
		return int(stat.Gid), []int{int(stat.Gid)}, nil
	}
	if err != nil {
		return 0, nil, err
	}
	if primary, err = strconv.Atoi(u.Gid); err != nil {
		return 0, nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		group, err := strconv.Atoi(id)
		if err != nil {
			return 0, nil, err
		}
		all = append(all, group)
	}
	return primary, all, nil
}

// become gives up root last: nobody else may change groups.
func become(uid, gid int, groups []int) error {
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("take the groups of user %d: %w", uid, err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("take group %d: %w", gid, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	return nil
}
