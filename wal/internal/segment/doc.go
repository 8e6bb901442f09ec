// Package segment reads a segment's file, and keeps its control block: the cursor that
// follows the frames of one segment through a mapping, an index of places in it, and
// what lies in front of the frames. It knows nothing of the log that the segment
// belongs to.
package segment
