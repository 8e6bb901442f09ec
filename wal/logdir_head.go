package wal

import (
	"bytes"
	"slices"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// keptHead is a copy of a segment's first bytes, up to frame.DataOffset. The heads
// of all files are kept while a log is judged, and nearly all of their bytes are
// zeros: those behind the last other byte of each block are left out.
type keptHead struct {
	size   int
	blocks [][]byte
}

// keepHead returns a copy of a head.
func keepHead(head []byte) *keptHead {
	k := &keptHead{size: len(head)}
	for block := range slices.Chunk(head, frame.BlockBytes) {
		k.blocks = append(k.blocks, bytes.Clone(block[:recovery.LastNonzero(block)]))
	}
	return k
}

// bytes returns the head, or nil where none is kept.
func (k *keptHead) bytes() []byte {
	if k == nil {
		return nil
	}
	head := make([]byte, k.size)
	for i, block := range k.blocks {
		copy(head[i*frame.BlockBytes:], block)
	}
	return head
}
