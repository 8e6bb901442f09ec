package logdir

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// IdentityText is what the lock file says once the log's first segment is durable:
// a directory that says so and has no segment has lost them.
func IdentityText(id frame.UUID) string {
	return fmt.Sprintf("seawall log %x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// Identity is what the lock file says: whose log it is, and how far that came. The
// zero value says nothing.
//
// It is the only thing that is known of a log outside of its segments. Without it, a
// directory whose newest segments are lost, or all of them, looks like an older log, or like
// none. The file is written by package wal alone (owner in lock.go): the text when a log is
// created, and at checkpoints the older of the two blocks behind it. Readers take what it
// says from the page cache; Open, which decides by it whether the log is whole, from the
// device.
//
// A file whose text is damaged names no log: the identity is then what the segments say, and that
// all of them are missing may go unnoticed. Its checkpoints count still, each by its own
// checksum, for segments of the log that they name: the text was durable before the first of them
// was written, so that no crash leaves them without it.
type Identity struct {
	UUID   frame.UUID       // zero where the file names no log
	Newest frame.Checkpoint // zero for none, or none of that log if the file names one
	Slot   int              // the block that it is in; the last one for none, so that the first is next
	Device []byte           // the file's bytes; of DeviceIdentity, as the device has them
}

// DeviceIdentity returns what the lock file says, durably and as the device holds
// it: the writer decides by it whether segments are missing. The sync comes first: what
// another writer wrote before it died may be in the page cache only, and a power loss later
// would take it back.
func DeviceIdentity(f *durability.File) (Identity, error) {
	if err := f.Sync(); err != nil {
		return Identity{}, err
	}
	n, err := ReadIdentity(func(p []byte, off int64) (int, error) {
		n, _, err := f.ReadDirect(p, off)
		return n, err
	})
	return n, errors.Join(err, f.EndDirect())
}

// ReadIdentity returns what the lock file says. read is like io.ReaderAt's method; a file
// that ends early is no error, since a writer may have made it just now.
func ReadIdentity(read func([]byte, int64) (int, error)) (Identity, error) {
	buf := make([]byte, frame.LockBytes)
	n, err := read(buf, 0)
	if n < len(buf) && isEOF(err) {
		err = nil
	}
	if n < len(buf) && err != nil {
		return Identity{}, err
	}
	note := ParseIdentity(buf[:n])
	note.Device = buf[:n]
	return note, nil
}

// ParseIdentity returns what a lock file of these bytes says. One that was made before
// it had room for a checkpoint is shorter, and so is one for whose blocks the filesystem had
// no space. A checkpoint of another log than the text names does not count; where there is no
// text, recovery asks whose it is. Of two valid ones
// the one with the greater counter is the newer; a crash tears no more than the one that was
// being written.
func ParseIdentity(b []byte) Identity {
	n := Identity{UUID: parseLockText(b), Slot: frame.Slots - 1}
	if len(b) < frame.LockBytes {
		return n
	}
	for i := range frame.Slots {
		c, err := frame.DecodeCheckpoint(b[frame.CheckpointOffset+i*frame.BlockBytes:])
		if err == nil && (c.UUID == n.UUID || n.UUID == (frame.UUID{})) && c.Counter > n.Newest.Counter {
			n.Newest, n.Slot = c, i
		}
	}
	return n
}

// lockBytes is the length of the text in the lock file's first block.
var lockBytes = len(IdentityText(frame.UUID{}))

// parseLockText returns the UUID in what the lock file says, or zero where it begins
// with anything but IdentityText.
func parseLockText(b []byte) (id frame.UUID) {
	const head = "seawall log "
	if len(b) < lockBytes || string(b[:len(head)]) != head || b[lockBytes-1] != '\n' {
		return frame.UUID{}
	}
	// Two digits a byte, in groups of 4, 2, 2, 2 and 6 bytes.
	digits := b[len(head) : lockBytes-1]
	for i := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			if digits[0] != '-' {
				return frame.UUID{}
			}
			digits = digits[1:]
		}
		high, low := strings.IndexByte(hexDigits, digits[0]), strings.IndexByte(hexDigits, digits[1])
		if high < 0 || low < 0 {
			return frame.UUID{}
		}
		id[i] = byte(high<<4 | low)
		digits = digits[2:]
	}
	return id
}
