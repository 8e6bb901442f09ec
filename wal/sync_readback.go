package wal

import (
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// stillThere is how many bytes of records, just stored and synced, are taken for being in the page
// cache still: a page that is dirty or under writeback is not evicted, and the sync has ended only
// now. Where one was all the same, its load waits for the disk. To ask for it before, as for what
// is longer, took two system calls a commit.
const stillThere = 64 << 10

// readBack reads what a sync covered, after it, and compares it with the chain:
// what is acknowledged is there. The file's size and its blocks do not prove that:
// what another process truncated away, or punched out, comes back as zeros at the
// next store into its page, and on a filesystem in memory at the next load, which
// may be a follower's.
//
// syncLocked calls it behind checkSynced. It reads the mapping, as readers do; what the device
// holds, it does not know.
func (s *snapshot) readBack() error {
	for _, r := range s.ranges {
		if r.from >= r.to {
			continue
		}
		if err := r.readBack(); err != nil {
			return err
		}
	}
	return nil
}

// readBack is snapshot.readBack for one segment. It begins at a place of the chain, at or
// before the first byte that was synced, since a frame can be checked only behind the
// one before it.
func (r *dirtyRange) readBack() error {
	c := segment.Cursor{Window: min(segment.PopulateBytes, r.to-r.begin.Off)}
	c.Enter(r.seg.mem, r.seg.size(), r.seg.seed, r.begin)
	if r.to-r.begin.Off <= stillThere {
		c.InMemory(r.to)
	}
	err := c.Verify(r.to)
	if segment.IsBad(err) {
		err = &durability.ChangedError{
			File: r.seg.file.Path(),
			What: fmt.Sprintf("what was stored at offset %d is not there: the file was overwritten, or truncated and extended again", c.Off),
		}
	}
	return err
}
