package durability

import (
	"sync"

	"golang.org/x/sys/unix"
)

// inodeKey tells the open inodes of a machine apart. An inode number is not
// given to another file while a descriptor of it is open.
type inodeKey struct{ dev, ino uint64 }

// identities gives each open inode of the process one number, which Event.File
// carries: a file that is open twice has one identity.
var identities = struct {
	sync.Mutex
	last uint64
	open map[inodeKey]*identity
}{open: make(map[inodeKey]*identity)}

// identity is the number of an inode that refs descriptors of the process hold
// open.
type identity struct {
	key  inodeKey
	id   uint64
	refs int
}

// identify returns the identity of an inode, new or shared, to be released.
func identify(key inodeKey) *identity {
	identities.Lock()
	defer identities.Unlock()
	i := identities.open[key]
	if i == nil {
		identities.last++
		i = &identity{key: key, id: identities.last}
		identities.open[key] = i
	}
	i.refs++
	return i
}

// release forgets the identity with the last descriptor.
func (i *identity) release() {
	identities.Lock()
	defer identities.Unlock()
	if i.refs--; i.refs == 0 {
		delete(identities.open, i.key)
	}
}

// deviceOf returns the device number that statx(2) tells in two halves.
func deviceOf(st *unix.Statx_t) uint64 {
	return unix.Mkdev(st.Dev_major, st.Dev_minor)
}

// keyOf returns the inode that statx(2) told of.
func keyOf(st *unix.Statx_t) inodeKey {
	return inodeKey{dev: deviceOf(st), ino: st.Ino}
}
