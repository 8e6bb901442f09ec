package logdir

import (
	"bytes"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// KeptHead is a copy of a segment's first bytes, up to frame.DataOffset. The heads
// of all files are kept while a log is recovered, and nearly all of their bytes are
// zeros: those behind the last other byte of each block are left out. Of 20 KiB, a few
// hundred bytes are left of a segment with its header, stamp, slots and control block.
type KeptHead struct {
	Size   int
	blocks [][]byte
}

// KeepHead returns a copy of a head.
func KeepHead(head []byte) *KeptHead {
	k := &KeptHead{Size: len(head)}
	for block := range slices.Chunk(head, frame.BlockBytes) {
		k.blocks = append(k.blocks, bytes.Clone(block[:recovery.LastNonzero(block)]))
	}
	return k
}

// Bytes returns the head, or nil where none is kept.
func (k *KeptHead) Bytes() []byte {
	if k == nil {
		return nil
	}
	head := make([]byte, k.Size)
	for i, block := range k.blocks {
		copy(head[i*frame.BlockBytes:], block)
	}
	return head
}

// SegmentSpan returns how many bytes of a file are the segment's, by its header.
// Where that is lost they are no more than a segment may have: a file that another process
// has made larger than that must not cost the addresses of all of it.
func SegmentSpan(head []byte, size int64) int64 {
	if h, err := frame.DecodeHeader(head); err == nil {
		return min(size, h.SegmentBytes)
	}
	return min(size, frame.MaxSegmentBytes)
}
