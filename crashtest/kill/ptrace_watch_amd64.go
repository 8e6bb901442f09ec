//go:build linux

package kill

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// The debug registers, as offsets in struct user of <sys/user.h>.
const (
	userDebug0 = 848
	userDebug7 = userDebug0 + 7*8
)

// watchEnable is debug register 7 for a watchpoint in register 0, of this thread
// alone, on stores to 8 aligned bytes (Intel SDM 3B, 19.2.4).
const watchEnable = 1<<0 | 0b01<<16 | 0b10<<18

// watch has a stopped thread stop again after its first store to the 8 bytes at
// an aligned address.
func watch(tid int, address uintptr) error {
	if address%8 != 0 {
		return fmt.Errorf("kill: address %#x is not aligned", address)
	}
	for _, w := range [...]struct {
		at uintptr
		v  uint64
	}{{userDebug0, uint64(address)}, {userDebug7, watchEnable}} {
		if _, err := unix.PtracePokeUser(tid, w.at, binary.LittleEndian.AppendUint64(nil, w.v)); err != nil {
			return fmt.Errorf("kill: watchpoint: %w", err)
		}
	}
	return nil
}
