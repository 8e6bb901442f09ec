// Package segment reads a segment's file, and keeps its control block: the cursor that
// follows the frames of one segment through a mapping, an index of places in it, and
// what lies in front of the frames. It knows nothing of the log that the segment
// belongs to, so that writer, readers and verification can share it.
//
// A Cursor is for one goroutine at a time. An Index has one writer and any number of
// concurrent readers. The words of a control block are loaded and stored atomically.
package segment
