package durability

import "github.com/seawall-wal/seawall/durability/internal/fault"

// LeaveCopyOnWrite does on any filesystem what Allocate does on btrfs.
var LeaveCopyOnWrite = (*File).leaveCopyOnWrite

// Ask runs a system call as every method does.
func Ask(call func() error) error {
	_, answer := ask(&fault.Call{Op: fault.Op(OpSync)}, call)
	return answer
}
