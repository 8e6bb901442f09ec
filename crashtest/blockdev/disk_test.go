//go:build linux

package blockdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// TestStates records files that are synced one after the other on each
// filesystem. What each flush leaves is mounted, and holds every file that was
// acknowledged then.
func TestStates(t *testing.T) {
	for _, k := range []kind{ext4, xfs, btrfs} {
		t.Run(k.name, func(t *testing.T) {
			d := newLab(t, k.bytes).Disks[0]
			must(t, k.mount(d))
			r := record(t, d, 6)
			must(t, d.Discard())
			acked := 0
			for _, e := range r.Epochs() {
				must(t, d.Fork(blockdev.View{Layer: r.ID, Cut: e.To}))
				must(t, d.Mount(k.name, 0, k.options))
				if e.From > 0 {
					acked = r.Events[e.From-1].Acks
				}
				for i := range acked {
					p, err := os.ReadFile(filepath.Join(d.Path(), r.Acks[i]))
					if err != nil || !bytes.Equal(p, content(i)) {
						t.Errorf("at request %d, with %d acknowledged: file %d: %d bytes, %v", e.To, acked, i, len(p), err)
					}
				}
				must(t, d.Discard())
			}
			touched, err := d.Touched()
			if err != nil || len(touched.Read) == 0 {
				t.Errorf("nothing was read: %v", err)
			}
			if acked < 4 {
				t.Errorf("%d acknowledged at the last flush", acked)
			}
		})
	}
}

// content returns what file i holds.
func content(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 9000+i) }

// say acknowledges a number.
func say(t *testing.T, acks *os.File, i int) {
	t.Helper()
	_, err := fmt.Fprintf(acks, "ack %d\n", i)
	must(t, err)
}

// record writes and syncs files, acknowledges each, and returns the recording.
func record(t *testing.T, d *blockdev.Disk, n int) *blockdev.Recording {
	t.Helper()
	if _, err := d.Cut(); err != nil {
		t.Fatal(err)
	}
	acks, err := d.Listen()
	must(t, err)
	defer acks.Close()
	for i := range n {
		f, ferr := os.Create(filepath.Join(d.Path(), strconv.Itoa(i)))
		must(t, ferr)
		_, ferr = f.Write(content(i))
		must(t, errors.Join(ferr, f.Sync(), f.Close()))
		say(t, acks, i)
	}
	r, err := d.Cut()
	must(t, err)
	must(t, r.Prove())
	if len(r.Acks) != n {
		t.Fatalf("%d acknowledgements, want %d: %q", len(r.Acks), n, r.Acks)
	}
	return r
}

// TestProof changes a recording, and its proof refuses it.
func TestProof(t *testing.T) {
	d := newLab(t, ext4.bytes).Disks[0]
	must(t, ext4.mount(d))
	r := record(t, d, 3)
	must(t, d.Discard())
	last := 0
	for i, e := range r.Events {
		if e.Op == blockdev.Flush {
			last = i
		}
	}
	for i, e := range r.Events[:last] {
		if e.Op != blockdev.Write {
			continue
		}
		changed := *r
		changed.Events = slices.Delete(slices.Clone(r.Events), i, i+1)
		if changed.Prove() == nil {
			t.Errorf("write %d of %d is missing, and the proof says nothing", i, last)
		}
		changed.Events = slices.Clone(r.Events)
		changed.Events[i].Sums = slices.Clone(e.Sums)
		changed.Events[i].Sums[0] ^= 4
		if changed.Prove() == nil {
			t.Errorf("write %d of %d is another, and the proof says nothing", i, last)
		}
	}
	for i := last; i > 0; i-- {
		if r.Events[i].Acks > r.Events[i-1].Acks {
			changed := *r
			changed.Events = slices.Clone(r.Events)
			changed.Events[i].Acks = 0
			if i > 1 && changed.Events[i-1].Acks > 0 && changed.Prove() == nil {
				t.Errorf("request %d has lost its acknowledgements, and the proof says nothing", i)
			}
		}
	}
}

// openDevice opens a disk's device, without the page cache where asked.
func openDevice(t *testing.T, d *blockdev.Disk, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(d.Device(), os.O_RDWR|flags, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// aligned returns memory that may be read and written without the page cache.
func aligned(t *testing.T, n int) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(t, err)
	t.Cleanup(func() { _ = unix.Munmap(p) })
	return p
}

// TestViews loses requests and sectors, and reads what is left.
func TestViews(t *testing.T) {
	l := newLab(t, 1<<20)
	d := l.Disks[0]
	f := openDevice(t, d, unix.O_DIRECT)
	p := aligned(t, 8192)
	for i := range byte(3) {
		for k := range p {
			p[k] = i + 1
		}
		_, err := f.WriteAt(p, int64(i)*4096)
		must(t, err)
	}
	r, err := d.Cut()
	must(t, err)
	if len(r.Events) != 3 {
		t.Fatalf("%d requests: %+v", len(r.Events), r.Events)
	}
	for _, tt := range []struct {
		name string
		cut  int
		lost []blockdev.Lost
		want string // of each 4 KiB, and of the first sector of the second
	}{
		{"all", 3, nil, "12332"},
		{"cut", 2, nil, "12202"},
		{"none", 0, nil, "00000"},
		{"middle", 3, []blockdev.Lost{{Event: 1}}, "11331"},
		{"last", 3, []blockdev.Lost{{Event: 2}}, "12202"},
		{"sector", 3, []blockdev.Lost{{Event: 1, Sectors: []int{0}}}, "12331"},
	} {
		v := blockdev.View{Layer: r.ID, Cut: tt.cut, Lost: tt.lost}
		b, err := l.ReadView(v, 0, 1<<20)
		must(t, err)
		got := ""
		for _, at := range []int{0, 4096 + 512, 8192, 12288, 4096} {
			got += string('0' + b[at])
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		// The same through the device, and by the sums.
		must(t, d.Fork(v))
		q := aligned(t, 1<<20)
		_, err = f.ReadAt(q, 0)
		must(t, err)
		if !bytes.Equal(q, b) {
			t.Errorf("%s: the device differs from the view", tt.name)
		}
		var kept []int
		torn := make(map[int][]int)
		for i := range tt.cut {
			if at := slices.IndexFunc(tt.lost, func(l blockdev.Lost) bool { return l.Event == i }); at < 0 {
				kept = append(kept, i)
			} else if s := tt.lost[at].Sectors; s != nil {
				kept, torn[i] = append(kept, i), s
			}
		}
		for from := range 2 {
			if from > 0 && (tt.cut == 0 || len(tt.lost) > 0) {
				continue
			}
			key := r.Index().Key(from, kept[from:], torn)
			if want := blockdev.KeyOfBytes(b); key != want {
				t.Errorf("%s: the key is %x, of the content %x", tt.name, key, want)
			}
		}
	}
}

// TestAckBeforeFlush: an acknowledgement that is said before its flush is heard
// before it, and one that is said after it is not.
func TestAckBeforeFlush(t *testing.T) {
	d := newLab(t, 1<<20).Disks[0]
	f := openDevice(t, d, 0)
	acks, err := d.Listen()
	must(t, err)
	defer acks.Close()
	for i := range 300 {
		if i%2 == 0 {
			say(t, acks, i)
		}
		_, werr := f.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 4096), 4096*int64(i%100))
		must(t, errors.Join(werr, f.Sync()))
		if i%2 == 1 {
			say(t, acks, i)
		}
	}
	r, err := d.Cut()
	must(t, err)
	must(t, r.Prove())
	flush := 0
	for i, e := range r.Events {
		if e.Op != blockdev.Flush {
			continue
		}
		// Even ones come before their own flush, odd ones after it.
		if want := flush + 1 - flush%2; e.Acks != want {
			t.Fatalf("flush %d, request %d, has heard %d acknowledgements, want %d", flush, i, e.Acks, want)
		}
		flush++
	}
	if flush != 300 || len(r.Acks) != 300 {
		t.Errorf("%d flushes, %d acknowledgements", flush, len(r.Acks))
	}
}

// TestSparse makes a filesystem of 1 TiB.
func TestSparse(t *testing.T) {
	d := newLab(t, 1<<40).Disks[0]
	must(t, d.Make("mkfs.xfs", "-q", "-f", "-K"))
	must(t, d.Mount("xfs", 0, ""))
	must(t, os.WriteFile(filepath.Join(d.Path(), "file"), content(1), 0o600))
	var st unix.Statfs_t
	must(t, unix.Statfs(d.Path(), &st))
	must(t, d.Unmount())
	if got := int64(st.Blocks) * st.Bsize; got < 1000<<30 {
		t.Errorf("%d bytes", got)
	}
	r, err := d.Cut()
	must(t, err)
	must(t, r.Prove())
	if _, err := blockdev.Open("", 1<<40+4096); err == nil {
		t.Error("a larger one is not refused")
	}
}

// try is what became of six writes and flushes.
type try struct {
	Writes, Flushes string // e is EIO, n is ENOSPC, . is nothing
	Wrong           string // blocks that do not hold what was written
}

// letter returns the letter of a result.
func letter(err error) string {
	switch {
	case errors.Is(err, unix.EIO):
		return "e"
	case errors.Is(err, unix.ENOSPC):
		return "n"
	case err != nil:
		return err.Error()
	}
	return "."
}

// tryFault writes and flushes six blocks on a disk with a fault, and reads them.
func tryFault(t *testing.T, d *blockdev.Disk, f *os.File, fault blockdev.Fault) (got try) {
	t.Helper()
	must(t, d.Record(blockdev.View{}, fault))
	p := aligned(t, 4096)
	for i := range 6 {
		copy(p, bytes.Repeat([]byte{byte(i + 1)}, len(p)))
		_, err := f.WriteAt(p, 4096*int64(i))
		got.Writes += letter(err)
		got.Flushes += letter(f.Sync())
	}
	must(t, d.Arm())
	for i := range 6 {
		_, err := f.ReadAt(p, 4096*int64(i))
		must(t, err)
		wrong := len(p) - bytes.Count(p, []byte{byte(i + 1)})
		got.Wrong += map[bool]string{true: ".", false: "x"}[wrong == 0]
		if wrong > 0 && fault.Effect == blockdev.Flip && wrong != 1 {
			t.Errorf("%d bytes were changed", wrong)
		}
	}
	return got
}

// TestFaults lets requests fail, lie and be changed; the same seed does the same.
func TestFaults(t *testing.T) {
	d := newLab(t, 1<<20).Disks[0]
	f := openDevice(t, d, unix.O_DIRECT)
	run := func(fault blockdev.Fault) try { return tryFault(t, d, f, fault) }
	for _, tt := range []struct {
		name  string
		fault blockdev.Fault
		want  try
	}{
		{"none", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.EIO, Nth: 1000}, try{"......", "......", "......"}},
		{"third write", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.EIO, Nth: 3}, try{"..e...", "......", "..x..."}},
		{"from then on", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.EIO, Nth: 3, Always: true}, try{"..eeee", "......", "..xxxx"}},
		{"place", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.ENOSPC, Off: 8192, Length: 8192, Always: true}, try{"..nn..", "......", "..xx.."}},
		{"content", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.EIO, Holding: []byte{5, 5}}, try{"....e.", "......", "....x."}},
		{"flush", blockdev.Fault{Op: blockdev.Flush, Effect: blockdev.EIO, Nth: 2}, try{"......", ".e....", "......"}},
		{"lost write", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.Lie, Nth: 6}, try{"......", "......", ".....x"}},
		{"flip", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.Flip, Nth: 4, Seed: 3}, try{"......", "......", "...x.."}},
		{"tear", blockdev.Fault{Op: blockdev.Write, Effect: blockdev.Tear, Nth: 1, Seed: 3}, try{"......", "......", "x....."}},
	} {
		if diff := cmp.Diff(tt.want, run(tt.fault)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	var sums []uint64
	for range 2 {
		run(blockdev.Fault{Op: blockdev.Write, Effect: blockdev.Flip, Always: true, Seed: 9})
		r, err := d.Cut()
		must(t, err)
		sums = append(sums, blockdev.SumOf(r))
	}
	if sums[0] != sums[1] {
		t.Error("the same seed flips other bits")
	}
	run(blockdev.Fault{Op: blockdev.Flush, Effect: blockdev.Lie, Nth: 2, Always: true})
	r, err := d.Cut()
	must(t, err)
	if n := len(r.Epochs()); n != 2 {
		t.Errorf("%d epochs, where all flushes but the first one lie", n)
	}
}
