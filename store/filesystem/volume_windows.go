package filesystem

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/windows"
)

const usuallyCaseBlind = true

func inspect(name string) (volume, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return volume{}, err
	}
	var v volume
	if err := windows.GetDiskFreeSpaceEx(path, &v.free, nil, nil); err != nil {
		return volume{}, fmt.Errorf("get free space: %w", err)
	}
	drive, err := windows.UTF16PtrFromString(filepath.VolumeName(name) + `\`)
	if err != nil {
		return volume{}, err
	}
	if windows.GetDriveType(drive) == windows.DRIVE_REMOTE {
		v.network = "network drive"
	}
	return v, nil
}
