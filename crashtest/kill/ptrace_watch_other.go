//go:build linux && !amd64

package kill

import "errors"

// watch would have a thread stop after a store. Single steps do without.
func watch(int, uintptr) error {
	return errors.New("kill: watchpoints are set on amd64 only")
}
