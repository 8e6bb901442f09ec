//go:build linux

// Package blockdev is a block device that remembers: every write, flush and
// discard, in order and with its data, so that whatever a power cut could have
// left of it can be made again, and mounted.
//
// # How it works
//
// A disk is a file that a FUSE server serves without the page cache, under a loop
// device. The server is a process of its own, this binary started anew: a Go
// process that serves a file, and also mounts, syncs or faults on what lies on it,
// hangs as soon as its collector wants to stop the world. The lab (and with it subjects and checks) is the process that asks for a
// server.
//
// What a disk holds is a pile of layers. A layer is what was written since the
// disk was last forked, all versions of every sector; it lies on a view of the
// layer below: its first so many requests, without those that were lost. A state
// of a power cut is such a view, and costs what it changes: forking a disk onto
// it copies nothing. Disks are sparse, up to 1 TiB.
//
// # Order
//
// The disk handles one request at a time. A request that was answered before a
// flush is asked for is durable when the flush is answered; nothing else is.
// Acknowledgements are lines `ack TOKEN` in a pipe. The pipe is drained before
// each request is handled, so an acknowledgement has its place between requests:
// one that was written before its own flush was asked for is seen as that.
//
// # What it cannot see
//
// A loop device knows neither FUA nor barriers other than flush: a disk whose FUA
// is broken cannot be made. Requests are as large as the loop device makes them.
package blockdev
