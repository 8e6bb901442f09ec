//go:build linux

package powerloss

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// xfsMagics are how blocks of xfs begin.
var xfsMagics = map[string]string{
	"XFSB": "the superblock", "XAGF": "the free space's header (AGF)", "XAGI": "the inodes' header (AGI)", "XAFL": "the free list (AGFL)",
	"AB3B": "free space by block", "AB3C": "free space by size", "IAB3": "the inodes' tree", "FIB3": "the free inodes' tree",
	"R3FC": "the reference counts", "RMB3": "the reverse map", "BMA3": "a file's map of extents",
	"XDB3": "directory entries", "XDD3": "directory entries",
}

// xfsLogInode begins what the log says of an inode.
const xfsLogInode = 0x123b

// xfs tells what a block of xfs is: by its first bytes, as all of its metadata
// says what it is.
func (a *atlas) xfs(block int64) string {
	p := a.read(block*blockdev.BlockBytes, blockdev.BlockBytes)
	for at := 0; at < len(p); at += blockdev.SectorBytes {
		if words := xfsMagics[string(p[at:at+4])]; words != "" {
			return words
		}
		if string(p[at:at+2]) == "IN" {
			return "inodes" + a.named(a.inodesOf(p[at:], binary.BigEndian, 0x494e, 0, 152))
		}
		if binary.BigEndian.Uint32(p[at:]) == 0xfeedbabe {
			// A record may go on behind this block; most fit into a few.
			all := a.read(block*blockdev.BlockBytes, 8*blockdev.BlockBytes)
			return fmt.Sprintf("the log: record %d of cycle %d%s", binary.BigEndian.Uint64(p[at+16:])&0xffffffff, binary.BigEndian.Uint32(p[at+4:]),
				a.named(a.inodesOf(all[at:], binary.LittleEndian, xfsLogInode, 0, 16)))
		}
	}
	return ""
}

// inodesOf returns the inodes that are named behind each place with a magic
// number, as far as there are such.
func (a *atlas) inodesOf(p []byte, order binary.ByteOrder, magic uint16, at, inode int) []string {
	var names []string
	for ; at+inode+8 <= len(p); at += 4 {
		if order.Uint16(p[at:]) != magic {
			continue
		}
		if path, ok := a.path(order.Uint64(p[at+inode:])); ok {
			names = append(names, path)
		}
	}
	return names
}

// path returns an inode's path, now or later.
func (a *atlas) path(inode uint64) (string, bool) {
	path, ok := a.paths[inode]
	if !ok && a.later != nil {
		path, ok = a.later.paths[inode]
	}
	return path, ok
}

// named puts names into brackets.
func (a *atlas) named(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + few(names) + ")"
}

// chunk is a part of btrfs's own address space.
type chunk struct{ logical, physical, length int64 }

// chunkLine finds the chunks in what `btrfs inspect-internal dump-tree` says.
var chunkLine = regexp.MustCompile(`(?s)CHUNK_ITEM (\d+)\).*?length (\d+).*?stripe 0 devid 1 offset (\d+)`)

// readChunks asks btrfs's own program for the chunks. Without it there are no
// names of files.
func readChunks(device string) []chunk {
	out, err := exec.Command("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", device).Output()
	if err != nil {
		return nil
	}
	var list []chunk
	for _, m := range chunkLine.FindAllStringSubmatch(string(out), -1) {
		var n [3]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(m[i+1], 10, 64) // digits
		}
		list = append(list, chunk{logical: n[0], length: n[1], physical: n[2]})
	}
	return list
}

// physical returns where on the disk an address of the filesystem is.
func (a *atlas) physical(address int64) int64 {
	for _, c := range a.chunks {
		if address >= c.logical && address < c.logical+c.length {
			return c.physical + address - c.logical
		}
	}
	return address
}

// btrfsTreeLog is how btrfs's journal is called: the tree of files that were synced since the
// last commit.
const btrfsTreeLog = "the log of synced files"

// btrfsTrees are the owners of btrfs's nodes.
var btrfsTrees = map[uint64]string{
	1: "the tree of roots", 2: "the extents", 3: "the chunks", 4: "the devices", 5: "the files", 7: "the checksums", 10: "the free space",
	^uint64(5): btrfsTreeLog,
}

const (
	btrfsNode   = 16 << 10 // bytes
	btrfsSuper  = 64 << 10
	btrfsHeader = 101
	btrfsInode  = 1 // types of keys
	btrfsIndex  = 96
)

// btrfs tells what a block of btrfs is.
func (a *atlas) btrfs(block int64) string {
	off := block * blockdev.BlockBytes
	if off >= btrfsSuper && off < btrfsSuper+blockdev.BlockBytes {
		return "the superblock"
	}
	for _, c := range a.chunks {
		if off < c.physical || off >= c.physical+c.length {
			continue
		}
		at := (off - c.physical) / btrfsNode * btrfsNode
		p := a.read(c.physical+at, btrfsNode)
		le := binary.LittleEndian
		if int64(le.Uint64(p[48:])) != c.logical+at {
			continue
		}
		tree := btrfsTrees[le.Uint64(p[88:])]
		if tree == "" {
			tree = fmt.Sprintf("tree %d", le.Uint64(p[88:]))
		}
		return fmt.Sprintf("a node of %s, of generation %d%s", tree, le.Uint64(p[80:]), a.named(a.btrfsItems(p)))
	}
	return ""
}

// btrfsItems tells which inodes and directory entries a leaf has.
func (a *atlas) btrfsItems(p []byte) []string {
	le := binary.LittleEndian
	var names []string
	if p[100] != 0 { // no leaf
		return nil
	}
	for i := range int(le.Uint32(p[96:])) {
		at := btrfsHeader + 25*i
		if at+25 > len(p) {
			break
		}
		data := btrfsHeader + int(le.Uint32(p[at+17:]))
		switch p[at+8] {
		case btrfsInode:
			if path, ok := a.path(le.Uint64(p[at:])); ok {
				names = append(names, "inode of "+path)
			}
		case btrfsIndex:
			if data+30 > len(p) {
				continue
			}
			if n := int(le.Uint16(p[data+27:])); data+30+n <= len(p) {
				names = append(names, "entry "+strings.ToValidUTF8(string(p[data+30:data+30+n]), "?"))
			}
		}
	}
	return names
}
