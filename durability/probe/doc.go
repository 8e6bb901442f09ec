// Package probe measures what a directory's filesystem, disk and kernel do for a
// program that appends into a shared mapping: what a sync costs and writes, what a
// store dirties, what a fault costs, whether a flush can be believed, and what
// follows from that for wal.Options.
//
// Each measurement has a time of its own, and ends early rather than late: a slow disk
// gives fewer samples. One that could not be made says why, in Result.NotMeasured, and
// the others go on. Times are of this moment, on a disk and a machine that others use
// too; counts of bytes that come from the device are medians for that reason.
//
// Run works in a directory of its own below the one that is probed, and removes it, also
// when its context ends. It needs no privilege: what it cannot see without one is told.
package probe
