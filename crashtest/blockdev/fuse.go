//go:build linux

package blockdev

import (
	"fmt"
	"io"
	"log"
	"strconv"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fuseSource is the source of the FUSE mounts, by which they are told from those
// of others.
const fuseSource = "seawall-blockdev"

// files serves the disks as files disk0, disk1, ...: node n+2 is disk n.
type files struct {
	fuse.RawFileSystem
	disks []*served
}

// firstNode is the number of disk 0; the root is 1.
const firstNode = 2

// attrTime is how long the kernel may rely on a size: it does not change.
const attrTime = uint64(time.Hour / time.Second)

// mountFiles serves the disks in dir, in the background.
func mountFiles(dir string, disks []*served) (*fuse.Server, error) {
	f := &files{RawFileSystem: fuse.NewDefaultRawFileSystem(), disks: disks}
	s, err := fuse.NewServer(f, dir, &fuse.MountOptions{
		FsName: fuseSource, Name: "seawall", DirectMountStrict: true, MaxWrite: maxWriteBytes,
		DisableXAttrs: true, MaxBackground: 64, Logger: log.New(io.Discard, "", 0),
		PanicHandler: func(v any) fuse.Status { panic(v) },
	})
	if err != nil {
		return nil, fmt.Errorf("blockdev: mount /dev/fuse: %w (it needs root, and the fuse module)", err)
	}
	go s.Serve()
	return s, s.WaitMount()
}

// disk returns a node's disk, or nil.
func (f *files) disk(node uint64) *served {
	if node < firstNode || node-firstNode >= uint64(len(f.disks)) {
		return nil
	}
	return f.disks[node-firstNode]
}

// attr fills in a node's attributes.
func (f *files) attr(node uint64, a *fuse.Attr) bool {
	a.Ino, a.Nlink, a.Blksize = node, 1, BlockBytes
	if d := f.disk(node); d != nil {
		a.Mode, a.Size, a.Blocks = unix.S_IFREG|0o600, uint64(d.bytes), uint64(d.bytes/512)
		return true
	}
	a.Mode = unix.S_IFDIR | 0o700
	return node == fuse.FUSE_ROOT_ID
}

// Lookup implements fuse.RawFileSystem.
func (f *files) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	digits, ok := strings.CutPrefix(name, "disk")
	n, err := strconv.ParseUint(digits, 10, 16)
	if h.NodeId != fuse.FUSE_ROOT_ID || !ok || err != nil || f.disk(n+firstNode) == nil {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation, out.EntryValid, out.AttrValid = n+firstNode, 1, attrTime, attrTime
	f.attr(n+firstNode, &out.Attr)
	return fuse.OK
}

// GetAttr implements fuse.RawFileSystem.
func (f *files) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.AttrValid = attrTime
	if !f.attr(in.NodeId, &out.Attr) {
		return fuse.ENOENT
	}
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem: the times that a write sets.
func (f *files) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.AttrValid = attrTime
	f.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

// Open implements fuse.RawFileSystem.
func (f *files) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.disk(in.NodeId) == nil {
		return fuse.EISDIR
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Read implements fuse.RawFileSystem.
func (f *files) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	d := f.disk(in.NodeId)
	size := min(int64(in.Size), d.bytes-int64(in.Offset))
	if size <= 0 {
		return fuse.ReadResultData(nil), fuse.OK
	}
	if errno := d.readAt(buf[:size], int64(in.Offset)); errno != 0 {
		return nil, fuse.Status(errno)
	}
	return fuse.ReadResultData(buf[:size]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (f *files) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	errno := f.disk(in.NodeId).change(Write, int64(in.Offset), int64(len(data)), data)
	if errno != 0 {
		return 0, fuse.Status(errno)
	}
	return uint32(len(data)), fuse.OK
}

// Fsync implements fuse.RawFileSystem: it is how a loop device flushes.
func (f *files) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fuse.Status(f.disk(in.NodeId).change(Flush, 0, 0, nil))
}

// Flush implements fuse.RawFileSystem. It comes with close, and means nothing.
func (f *files) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Fallocate implements fuse.RawFileSystem: it is how a loop device discards, and
// writes zeros.
func (f *files) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if in.Mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	return fuse.Status(f.disk(in.NodeId).change(Discard, int64(in.Offset), int64(in.Length), nil))
}
