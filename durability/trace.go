package durability

import "fmt"

// Tracer observes every operation of this package that can change what a
// crash leaves behind. A nil Tracer is allowed wherever one is asked for.
//
// Trace is called synchronously, in the goroutine that performs the operation,
// and from several goroutines at once: it must be safe for concurrent use, and
// it must not call back into the Dir, File or Mapping that it observes. The
// slices of the Event belong to the caller and are valid only during the call.
//
// The order of the calls is the order that a crash model may rely on: of two
// operations, one of which returned before the other began, the first one's
// events come first.
type Tracer interface {
	Trace(Event)
}

// Op says what an Event reports. Zero is not an operation.
type Op uint8

// The operations. For each: the fields that are set besides Op, Phase, ID, File,
// Dir and Name, and what a crash model may conclude. Every operation but
// OpStore is reported twice, Before and After; the fields are those of the
// Before event and are repeated in the After event unless said otherwise.
const (
	// OpStore is a store through a shared mapping: Offset, Length, and Data
	// followed by Data2. Both empty means Length zero bytes. It is a single event,
	// Phase Before, ID 0, right before the first byte is stored: when it is the
	// last event before a crash, any subset of the store's aligned 8-byte words
	// may be in the file; when another event follows, the store is complete and
	// no process death takes it away. Bytes at or beyond the end of the file are
	// lost (mmap(2), NOTES). A store that ends in a *FaultError has been
	// reported like any other.
	OpStore Op = iota + 1

	// OpWrite is a pwrite(2): Offset, Length, and Data, where empty means Length
	// zero bytes. The After event has no Data, and its Length is the number of
	// bytes that were written, which may be above zero although Err is set. The
	// file grows to Offset+Length if it was shorter.
	OpWrite

	// OpMsync is an msync(2) with MS_SYNC: Offset and Length as they were given
	// to the kernel, rounded outwards to pages. After, without Err: what was
	// stored or written inside the range before the Before event is durable, and
	// so is the size that the file then had, because it is an fdatasync of the
	// range (mm/msync.c calls vfs_fsync_range with datasync set). It says nothing
	// about the file's name.
	OpMsync

	// OpDatasync is an fdatasync(2). After, without Err: all content, and the
	// size, from before the Before event is durable; the file's name is not.
	OpDatasync

	// OpSync is an fsync(2) of a file. It promises what OpDatasync does, and, as
	// that, nothing about the file's name (fsync(2), DESCRIPTION).
	OpSync

	// OpSyncDir is an fsync(2) of the directory Dir; Name is empty, and File is
	// the directory's identity. After, without Err: every directory operation
	// in Dir whose After event came before this Before event is durable. Those
	// that were in progress at that time may or may not be.
	OpSyncDir

	// OpCreate is a file that did not exist before, empty, under Name in Dir. An
	// empty Name is a file without a name (O_TMPFILE), to which OpLink may give
	// one. File may be 0 in the Before event; the After event without Err always
	// has it. The name is not durable before an OpSyncDir.
	OpCreate

	// OpRename moves the file under Name in Dir to NewName in Dir, atomically
	// replacing what was there (rename(2)). File may be 0 where the file is not
	// open. Not durable before an OpSyncDir; after a crash the file is under its
	// old or its new name.
	OpRename

	// OpExchange swaps the files under Name and NewName in Dir atomically
	// (renameat2(2), RENAME_EXCHANGE). File is the one that was under Name, or 0.
	OpExchange

	// OpLink gives File, or the file under Name in Dir where File is 0, the
	// further name NewName in Dir, which did not exist before (linkat(2)).
	OpLink

	// OpRemove is an unlink of Name in Dir. File may be 0.
	OpRemove

	// OpMkdir is a new, empty directory Name in Dir. File may be 0.
	OpMkdir

	// OpAllocate is an fallocate(2) with mode 0: Offset, Length. After, without
	// Err: the file is at least Offset+Length bytes long; what was not there
	// before reads as zeros, and content is unchanged. The zeros that
	// Allocate and FillHoles write are OpWrite events of their own.
	OpAllocate

	// OpTruncate is an ftruncate(2) to Length bytes; Offset is 0. What a longer
	// size brings is zeros.
	OpTruncate
)

// opNames is indexed by Op.
var opNames = [...]string{
	OpStore:    "store",
	OpWrite:    "write",
	OpMsync:    "msync",
	OpDatasync: "fdatasync",
	OpSync:     "fsync",
	OpSyncDir:  "fsync directory",
	OpCreate:   "create",
	OpRename:   "rename",
	OpExchange: "exchange",
	OpLink:     "link",
	OpRemove:   "remove",
	OpMkdir:    "mkdir",
	OpAllocate: "allocate",
	OpTruncate: "truncate",
}

// String returns the operation's name in lower case, as errors and traces print
// it, or "op(N)" for a value that is no operation.
func (o Op) String() string {
	if o == 0 || int(o) >= len(opNames) {
		return fmt.Sprintf("op(%d)", uint8(o))
	}
	return opNames[o]
}

// Phase tells the two events of one operation apart. Zero is not a phase.
type Phase uint8

// The phases of an operation.
const (
	// Before is reported before the kernel is asked, or before the first byte of
	// a store. From here on a crash may find the operation's effect.
	Before Phase = iota + 1

	// After is reported when the kernel has answered, with its answer in
	// Event.Err. An operation without Err took effect in full, in the files as
	// every process sees them; what of it is durable, only syncs say.
	After
)

// String returns "before" or "after".
func (p Phase) String() string {
	switch p {
	case Before:
		return "before"
	case After:
		return "after"
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// Event is one observation of a Tracer. The constants of Op say which fields
// are set for which operation.
type Event struct {
	Op    Op
	Phase Phase

	// ID pairs Before and After: both carry the same number, which no other
	// operation of the process has. It is 0 for stores, which come alone.
	ID uint64

	// File is the identity of the open file or directory: it stays the same
	// across renames, no other file of the process ever gets it, and a file that
	// is open twice has one identity. A file that is closed and opened again may
	// come back under a new one; Dir and Name then say which file it is.
	File uint64

	// Dir is the path of the directory that the operation takes place in, as it
	// was given to OpenDir or MkdirAll. Name is the file's base name at this
	// moment; NewName is the second name of a rename, exchange or link.
	Dir     string
	Name    string
	NewName string

	// Offset and Length are a range of the file in bytes. Length is the new size
	// for OpTruncate.
	Offset int64
	Length int64

	// Data, then Data2, is what is stored or written. Valid only during Trace.
	Data  []byte
	Data2 []byte

	// Err is the kernel's answer, in the After event: nil is success. An
	// operation that failed changed nothing, but for what OpWrite says, and a
	// sync that failed made nothing durable. A call that never reached the
	// kernel carries an Err too: success in a trace is always the kernel's own.
	Err error
}
