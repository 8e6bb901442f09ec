//go:build linux

// Package powerloss cuts the power of real filesystems, over and over: it records
// a workload once, on a device that remembers every request, and makes of it the
// states that a power cut could have left. Each is mounted, so that the
// filesystem's own recovery runs, and checked.
//
// # States
//
// A device promises that what it had answered before a flush was asked for is
// durable when that is answered. What lies between two flushes is an epoch: of
// its requests any may be missing, and any sector of them. The recording is
// proved before anything is made of it (blockdev.Recording.Prove).
//
// The states are, by classes: what each flush leaves, and all that came before
// the next one; each single request of an epoch missing; subsets of the requests
// to those blocks that mounting and checking read, as the device has seen; seeded
// subsets; requests of which some sectors are missing; and a second power cut
// while the filesystem and the program recover from a first one.
//
// A state is mounted and checked once for its content. The same content may have
// been left at any moment from its last request on until the next flush was
// answered: it is judged by what was known at each of them, and where that are acknowledgements
// alone, by all that had been given at the last one.
//
// # Beside the workload
//
// An epoch ends at any flush, also at one that another file has caused: its journal may bring
// a name to the disk before the data that belongs to it. Beside half of the lives an unrelated
// file is created and synced at moments that the seed chooses, and after some the filesystem's
// own commit comes. The subject's directory is one of the disk's, which is durable when a life
// begins.
//
// # Findings
//
// A finding is made smaller, to the fewest requests that have to be missing, and told in words:
// what lay there, after which acknowledgement and before which flush. Its token carries what the
// disk held, so that it shows again without a recording; of a large disk it carries the blocks
// that were read to show it. Two marks are kept apart (Mark): what was acknowledged is there, and
// what is there is legal.
//
// A filesystem that does not mount is no finding of a program's: results say in their notes
// how often that was. With sectors of 512 bytes a torn superblock is enough for ext4 and btrfs.
//
// # Faults
//
// In a campaign of faults (RunFaults) the disk fails a request, or all from one on, and works again
// later. What is found then, on the filesystem as it goes on and after a power cut, has to have all
// that was acknowledged.
//
// # Broken disks
//
// A disk that breaks its promises (RunBroken) lies about a flush, tears a sector, flips a bit, loses
// a write or writes it elsewhere. No program keeps what such a disk loses: that is no finding,
// and counted. What is asked is whether the program tells, or takes for right what is not so.
//
// # What it sees
//
// Nothing here depends on how a program writes: stores into a mapping are seen as
// the requests that the filesystem makes of them. What the page cache never wrote
// is missing in every state, as it would be.
//
// Not seen: a write that a device has not answered yet when a flush of another file is asked for,
// and that is lost although that was answered (a disk handles its requests one after the other);
// FUA (a loop device has none), and reorderings across filesystems.
package powerloss
