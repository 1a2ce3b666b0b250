package vault

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"

	"postroom/internal/secret"
)

// machineID is of no use here: the Data Protection API knows the machine.
func machineID() ([]byte, error) { return nil, nil }

func blob(data []byte) *windows.DataBlob {
	if len(data) == 0 {
		return &windows.DataBlob{}
	}
	return &windows.DataBlob{Size: uint32(len(data)), Data: &data[0]}
}

// taken copies what the system has made, and frees it.
func taken(b windows.DataBlob) ([]byte, error) {
	data := append([]byte(nil), unsafe.Slice(b.Data, b.Size)...)
	_, err := windows.LocalFree(windows.Handle(unsafe.Pointer(b.Data)))
	return data, err
}

// protection: with the key of the machine, since the service and whoever sets a
// secret are different users, and without ever asking one.
const protection = windows.CRYPTPROTECT_LOCAL_MACHINE | windows.CRYPTPROTECT_UI_FORBIDDEN

func (v *Vault) ready(bool) error { return nil }

func (v *Vault) seal(name string, plain []byte, _ bool) (key string, data []byte, err error) {
	var out windows.DataBlob
	if err := windows.CryptProtectData(blob(plain), nil, blob(associated(name)), 0, nil, protection, &out); err != nil {
		return "", nil, fmt.Errorf("encrypt: %w", err)
	}
	data, err = taken(out)
	return "", data, err
}

func (v *Vault) open(name string, value sealed) (secret.Value, error) {
	var out windows.DataBlob
	if err := windows.CryptUnprotectData(blob(value.Data), nil, blob(associated(name)), 0, nil, protection, &out); err != nil {
		return secret.Value{}, &UnreadableError{v.file(), fmt.Sprintf("it was written on another machine, or the value has been altered (%v): what it holds cannot be read here", err), ""}
	}
	plain, err := taken(out)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(string(plain)), nil
}

// own does nothing: files have the access of their folder.
func own(*os.File, string) error { return nil }

// protect closes the folder, which is new, to all but the system, administrators
// and the owner of another.
func protect(dir, like string) error {
	info, err := windows.GetNamedSecurityInfo(like, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("find the owner of %s: %w", like, err)
	}
	owner, _, err := info.Owner()
	if err != nil {
		return fmt.Errorf("find the owner of %s: %w", like, err)
	}
	const whole = "(A;OICI;FA;;;%s)"
	closed, err := windows.SecurityDescriptorFromString("D:P" + fmt.Sprintf(whole+whole+whole, "SY", "BA", owner.String()))
	if err != nil {
		return err
	}
	list, _, err := closed.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
}
