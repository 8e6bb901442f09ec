package durability

import "github.com/seawall-wal/seawall/durability/internal/fault"

// LeaveCopyOnWrite does on any filesystem what Allocate does on btrfs.
var LeaveCopyOnWrite = (*File).leaveCopyOnWrite

// Ask runs a system call as every method does.
func Ask(call func() error) error {
	_, answer := ask(&fault.Call{Op: fault.Op(OpSync)}, call)
	return answer
}

// Identified reports whether the process still holds an identity for the file.
func Identified(f *File) bool { return identified(f.key) }

// IdentifiedDir is Identified for a directory.
func IdentifiedDir(d *Dir) bool { return identified(d.id.key) }

func identified(key inodeKey) bool {
	identities.Lock()
	defer identities.Unlock()
	return identities.open[key] != nil
}
