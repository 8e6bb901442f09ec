//go:build linux

package powerloss

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// ext4Layout is where ext4 keeps what is no file's, of a filesystem with blocks of
// 4 KiB and one group of them; of others it knows nothing.
type ext4Layout struct {
	inodeBytes, inodes              int64
	blockBitmap, inodeBitmap, table int64 // blocks
	journal                         [][2]int64
}

const (
	ext4Super   = 1024 // bytes from the beginning
	ext4Magic   = 0xef53
	ext4Journal = 8 // its inode
	jbd2Magic   = 0xc03b3998
)

// readExt4 reads the layout, or returns nil.
func readExt4(read func(off, length int64) []byte) *ext4Layout {
	le := binary.LittleEndian
	p := read(0, 2*blockdev.BlockBytes)
	sb := p[ext4Super:]
	if le.Uint16(sb[0x38:]) != ext4Magic || le.Uint32(sb[0x18:]) != 2 {
		return nil
	}
	group := p[blockdev.BlockBytes:]
	x := &ext4Layout{
		inodeBytes: int64(le.Uint16(sb[0x58:])), inodes: int64(le.Uint32(sb[0x28:])),
		blockBitmap: int64(le.Uint32(group)), inodeBitmap: int64(le.Uint32(group[4:])), table: int64(le.Uint32(group[8:])),
	}
	if x.inodeBytes < 128 || x.inodeBytes > blockdev.BlockBytes {
		return nil
	}
	at := x.table*blockdev.BlockBytes + (ext4Journal-1)*x.inodeBytes
	block := read(at/blockdev.BlockBytes*blockdev.BlockBytes, blockdev.BlockBytes)
	tree := block[at%blockdev.BlockBytes+0x28:]
	if le.Uint16(tree) != 0xf30a || le.Uint16(tree[6:]) != 0 { // extents, all in the inode
		return x
	}
	for i := range min(int(le.Uint16(tree[2:])), 4) {
		e := tree[12+12*i:]
		x.journal = append(x.journal, [2]int64{int64(le.Uint32(e[8:])), int64(le.Uint16(e[4:]))})
	}
	return x
}

// describe tells what a block is.
func (x *ext4Layout) describe(a *atlas, block int64) string {
	switch {
	case x == nil:
		return ""
	case block == 0:
		return "the superblock"
	case block == x.blockBitmap:
		return "the bitmap of blocks"
	case block == x.inodeBitmap:
		return "the bitmap of inodes"
	case block >= x.table && block < x.table+(x.inodes*x.inodeBytes+blockdev.BlockBytes-1)/blockdev.BlockBytes:
		per := blockdev.BlockBytes / x.inodeBytes
		first := (block-x.table)*per + 1
		var names []string
		for n := first; n < first+per; n++ {
			if path, ok := a.paths[uint64(n)]; ok {
				names = append(names, path)
			} else if a.later != nil && a.later.paths[uint64(n)] != "" {
				names = append(names, a.later.paths[uint64(n)])
			}
		}
		return fmt.Sprintf("inodes %d to %d (%s)", first, first+per-1, few(names))
	case block < x.table && block <= 8:
		return "the group descriptors"
	}
	for _, j := range x.journal {
		if block >= j[0] && block < j[0]+j[1] {
			return x.inJournal(a, block, j[0])
		}
	}
	return ""
}

// inJournal tells what a block of the journal is: by itself, or by the descriptor
// before it.
func (x *ext4Layout) inJournal(a *atlas, block, first int64) string {
	be := binary.BigEndian
	p := a.read(block*blockdev.BlockBytes, blockdev.BlockBytes)
	if be.Uint32(p) == jbd2Magic {
		kind := map[uint32]string{1: "what belongs to", 2: "the commit of", 3: "the superblock, at", 4: "the superblock, at", 5: "the revocations of"}[be.Uint32(p[4:])]
		words := fmt.Sprintf("the journal: %s transaction %d", kind, be.Uint32(p[8:]))
		if be.Uint32(p[4:]) <= 2 {
			words += a.named(x.inTransaction(a, block, first, be.Uint32(p[8:])))
		}
		return words
	}
	for at := block - 1; at >= max(first, block-256); at-- {
		p = a.read(at*blockdev.BlockBytes, blockdev.BlockBytes)
		if be.Uint32(p) != jbd2Magic {
			continue
		}
		tags := jbd2Tags(p)
		if be.Uint32(p[4:]) != 1 || int(block-at) > len(tags) {
			break
		}
		return fmt.Sprintf("the journal: transaction %d's copy of %s", be.Uint32(p[8:]), strings.Join(tellRuns([]run{a.at(tags[block-at-1], block)}), ""))
	}
	return "the journal"
}

// inTransaction tells what a transaction changes, from the descriptor at or before
// a block of its.
func (x *ext4Layout) inTransaction(a *atlas, block, first int64, number uint32) (names []string) {
	be := binary.BigEndian
	for at := block; at >= max(first, block-256); at-- {
		p := a.read(at*blockdev.BlockBytes, blockdev.BlockBytes)
		if be.Uint32(p) != jbd2Magic || be.Uint32(p[8:]) != number || be.Uint32(p[4:]) != 1 {
			continue
		}
		for i, n := range jbd2Tags(p) {
			names = append(names, strings.Join(tellRuns([]run{a.at(n, at+int64(i)+1)}), ""))
		}
		return names
	}
	return nil
}

// jbd2Tags returns the blocks that a descriptor names, with checksums of the third
// version, as ext4 has them by default.
func jbd2Tags(p []byte) []int64 {
	const (
		tagBytes = 16
		sameUUID = 2
		lastTag  = 8
	)
	be := binary.BigEndian
	var blocks []int64
	for at := 12; at+tagBytes <= len(p); {
		block, flags := int64(be.Uint32(p[at:])), be.Uint32(p[at+4:])
		blocks = append(blocks, block|int64(be.Uint32(p[at+8:]))<<32)
		if at += tagBytes; flags&sameUUID == 0 {
			at += 16
		}
		if flags&lastTag != 0 {
			break
		}
	}
	return blocks
}

// entries tells which entries a directory's block has, of ext4.
func (a *atlas) entries(block int64) string {
	if a.filesystem != "ext4" {
		return ""
	}
	le := binary.LittleEndian
	p := a.read(block*blockdev.BlockBytes, blockdev.BlockBytes)
	var names []string
	for at := 0; at+8 <= len(p); {
		inode, size, n := le.Uint32(p[at:]), int(le.Uint16(p[at+4:])), int(p[at+6])
		if size < 8 || at+8+n > len(p) {
			break
		}
		if name := string(p[at+8 : at+8+n]); inode != 0 && name != "." && name != ".." {
			names = append(names, name)
		}
		at += size
	}
	if len(names) == 0 {
		return ""
	}
	return " (entries " + few(names) + ")"
}
