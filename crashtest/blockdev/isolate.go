//go:build linux

package blockdev

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolatedEnv is the environment variable of a program that is in a mount namespace of its own.
const isolatedEnv = "SEAWALL_MOUNT_NAMESPACE"

// Isolate starts this program again, with its arguments, in a mount namespace of its own, and does
// not return; in the program so started it does nothing. What is mounted there nobody else sees,
// and it goes with the last process, however that ends. It is for main functions, before they
// have done anything. It needs root.
func Isolate() error {
	if os.Getenv(isolatedEnv) != "" {
		return os.Unsetenv(isolatedEnv)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// The thread that calls execve(2) is the only one that is left, with its namespaces.
	runtime.LockOSThread()
	if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("blockdev: a mount namespace: %w", err)
	}
	if err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("blockdev: a mount namespace: %w", err)
	}
	environ := append(os.Environ(), isolatedEnv+"=1")
	return fmt.Errorf("blockdev: starting %s again: %w", self, syscall.Exec(self, os.Args, environ))
}
