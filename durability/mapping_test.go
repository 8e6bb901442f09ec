package durability_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestMappingBytes checks that what goes in through one door comes out of the
// other.
func TestMappingBytes(t *testing.T) {
	t.Parallel()
	m := newMapping(t, 2*page)
	want := make([]byte, 2*page)
	store := func(off int64, p []byte) { copy(want[off:], p) }

	must(t, m.Store(3, []byte("one"), []byte("two")))
	store(3, []byte("onetwo"))
	must(t, m.Store(2*page-4, nil, []byte("last")))
	store(2*page-4, []byte("last"))
	must(t, m.Store(2*page, nil, nil))
	must(t, m.StoreUint64(64, 0x0102030405060708))
	store(64, []byte{8, 7, 6, 5, 4, 3, 2, 1})
	must(t, m.Store(100, []byte("0123456789"), nil))
	must(t, m.Zero(102, 3))
	store(100, []byte("01\x00\x00\x0056789"))
	must(t, m.Zero(2*page, 0))

	got := make([]byte, 2*page)
	if _, err := m.File().ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the file differs (-want +got):\n%s", diff)
	}
	clear(got)
	must(t, m.Load(0, got))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load differs (-want +got):\n%s", diff)
	}
	if v, err := m.LoadUint64(64); v != 0x0102030405060708 || err != nil {
		t.Errorf("LoadUint64(64) = %#x, %v", v, err)
	}
	if v, err := m.LoadUint32(101); v != binary.LittleEndian.Uint32(want[101:]) || err != nil {
		t.Errorf("LoadUint32(101) = %#x, %v", v, err)
	}
	sum := crc32.Checksum(want[1:page+7], crc32.MakeTable(crc32.Castagnoli))
	if v, err := m.Checksum(1, page+6); v != sum || err != nil {
		t.Errorf("Checksum = %#x, %v, want %#x", v, err, sum)
	}
}

// accesses are all methods that touch a range of the mapping. The eight-byte
// ones take off only.
var accesses = []struct {
	name  string
	write bool
	fixed int64 // the length that the method has, or 0
	do    func(m *durability.Mapping, off, n int64) error
}{
	{"Store", true, 0, func(m *durability.Mapping, off, n int64) error { return m.Store(off, make([]byte, max(n, 0)), nil) }},
	{"Store b", true, 0, func(m *durability.Mapping, off, n int64) error { return m.Store(off, nil, make([]byte, max(n, 0))) }},
	{"Zero", true, 0, func(m *durability.Mapping, off, n int64) error { return m.Zero(off, n) }},
	{"PopulateWrite", true, 0, func(m *durability.Mapping, off, n int64) error { return m.PopulateWrite(off, n) }},
	{"StoreUint64", true, 8, func(m *durability.Mapping, off, _ int64) error { return m.StoreUint64(off, 1) }},
	{"StoreBehind", true, 0, func(m *durability.Mapping, off, n int64) error {
		return m.StoreBehind(&durability.Behind{Link: 64, Off: off, Word: 72}, make([]byte, max(n, 0)), nil)
	}},
	{"StoreBehind b", true, 0, func(m *durability.Mapping, off, n int64) error {
		return m.StoreBehind(&durability.Behind{Link: 64, Off: off}, nil, make([]byte, max(n, 0)))
	}},
	{"StoreBehind word", true, 8, func(m *durability.Mapping, off, _ int64) error {
		return m.StoreBehind(&durability.Behind{Link: 64, Word: off, Tell: 1}, nil, nil)
	}},
	{"StoreBehind link", true, 4, func(m *durability.Mapping, off, _ int64) error {
		want, _ := m.LoadUint32(off)
		return m.StoreBehind(&durability.Behind{Link: off, Want: want}, nil, nil)
	}},
	{"LoadUint64", false, 8, func(m *durability.Mapping, off, _ int64) error { _, err := m.LoadUint64(off); return err }},
	{"LoadUint32", false, 4, func(m *durability.Mapping, off, _ int64) error { _, err := m.LoadUint32(off); return err }},
	{"Load", false, 0, func(m *durability.Mapping, off, n int64) error { return m.Load(off, make([]byte, max(n, 0))) }},
	{"Checksum", false, 0, func(m *durability.Mapping, off, n int64) error { _, err := m.Checksum(off, n); return err }},
	{"Sync", false, 0, func(m *durability.Mapping, off, n int64) error { return m.Sync(off, n) }},
	{"Advise", false, 0, func(m *durability.Mapping, off, n int64) error {
		return m.Advise(durability.AdviceWillNeed, off, n)
	}},
	{"PopulateRead", false, 0, func(m *durability.Mapping, off, n int64) error { return m.PopulateRead(off, n) }},
	{"Resident", false, 0, func(m *durability.Mapping, off, n int64) error { _, err := m.Resident(off, n); return err }},
}

// TestMappingRange checks every method at the edges of the mapping, whose size is
// not a multiple of the page.
func TestMappingRange(t *testing.T) {
	t.Parallel()
	size := page + 104
	m := newMapping(t, size)
	for _, a := range accesses {
		n := a.fixed
		if n == 0 {
			n = 16
		}
		ranges := []struct {
			off, n int64
			ok     bool
		}{
			{0, n, true},
			{size - n, n, true},
			{8, n, true},
			{-8, n, false},
			{-1, n, false},
			{size - n + 8, n, false},
			{size - n + 1, n, false},
			{size, n, false},
			{math.MaxInt64 - 7, n, false},
			{math.MinInt64, n, false},
			{math.MaxInt64 / 8 * 8, n, false},
		}
		for _, r := range ranges {
			err := a.do(m, r.off, r.n)
			if r.ok {
				must(t, err)
			} else {
				wantErr(t, err, durability.ErrRange, m.File().Path())
			}
		}
		if a.fixed != 0 {
			continue
		}
		must(t, a.do(m, size, 0))
		wantErr(t, a.do(m, 0, size+1), durability.ErrRange)
		if !strings.HasPrefix(a.name, "Store") && a.name != "Load" {
			wantErr(t, a.do(m, 16, -1), durability.ErrRange)
			wantErr(t, a.do(m, 16, math.MaxInt64), durability.ErrRange)
			wantErr(t, a.do(m, 16, math.MinInt64), durability.ErrRange)
		}
	}
	wantErr(t, m.StoreUint64(12, 1), durability.ErrRange)
	_, err := m.LoadUint64(12)
	wantErr(t, err, durability.ErrRange)
}

// TestMappingRefuses checks every method on a mapping that is read-only, and on
// one that is gone.
func TestMappingRefuses(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", page)
	readOnly, err := f.Map(page, false)
	must(t, err)
	for _, a := range accesses {
		err := a.do(readOnly, 8, 8)
		if strings.HasPrefix(a.name, "StoreBehind ") { // they are asked for less
			wantErr(t, err, durability.ErrReadOnly)
		} else if a.write {
			wantErr(t, err, durability.ErrReadOnly, "8 bytes at offset 8")
		} else {
			must(t, err)
		}
	}
	must(t, readOnly.Unmap())
	must(t, readOnly.Unmap())
	gone := mapFile(t, f, page)
	must(t, gone.Unmap())
	for _, m := range []*durability.Mapping{readOnly, gone} {
		for _, a := range accesses {
			wantErr(t, a.do(m, 0, 8), durability.ErrClosed)
		}
	}
	if gone.Len() != page || gone.File() != f {
		t.Errorf("Len and File are %d and %v after Unmap", gone.Len(), gone.File())
	}
}

// TestMap checks what cannot be mapped.
func TestMap(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", page)
	for _, size := range []int64{0, -1, page + 1, math.MaxInt64} {
		if m, err := f.Map(size, true); err == nil {
			t.Errorf("Map(%d) of a file of %d returns %v", size, page, m.Len())
		}
	}
	readOnly, err := d.Open("f", false)
	must(t, err)
	_, err = readOnly.Map(page, true)
	wantErr(t, err, unix.EACCES, readOnly.Path())
	must(t, readOnly.Close())
	_, err = readOnly.Map(page, false)
	wantErr(t, err, durability.ErrClosed)

	durabilitytest.Inject(t, d.Path(), func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpMap && c.Phase == durability.After {
			if c.Length != page {
				t.Errorf("the call is for %d bytes, want %d", c.Length, page)
			}
			return unix.ENOMEM
		}
		return nil
	})
	_, err = f.Map(page, true)
	wantErr(t, err, unix.ENOMEM, "address space")
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	if strings.Contains(string(maps), f.Path()) {
		t.Error("a mapping that failed is still there")
	}
}

// TestMappingOutlivesFile checks that a mapping goes on when its file is closed.
func TestMappingOutlivesFile(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", page)
	m := mapFile(t, f, page)
	must(t, f.Close())
	must(t, m.Store(0, []byte("late"), nil))
	must(t, m.Sync(0, page))
	again, err := d.Open("f", false)
	must(t, err)
	defer func() { must(t, again.Close()) }()
	got := make([]byte, 4)
	_, err = again.ReadAt(got, 0)
	must(t, err)
	if string(got) != "late" {
		t.Errorf("the file holds %q, want %q", got, "late")
	}
}

// TestHotPathAllocatesNothing covers the methods that an append calls.
func TestHotPathAllocatesNothing(t *testing.T) {
	m := newMapping(t, page)
	head, data := make([]byte, 24), make([]byte, 100)
	for name, do := range map[string]func() error{
		"Store":       func() error { return m.Store(8, head, data) },
		"StoreUint64": func() error { return m.StoreUint64(8, 1) },
		"StoreBehind": func() error { return m.StoreBehind(&durability.Behind{Off: 8, Word: 2048, Tell: 1}, head, data) },
		"LoadUint64":  func() error { _, err := m.LoadUint64(8); return err },
		"LoadUint32":  func() error { _, err := m.LoadUint32(8); return err },
		"Load":        func() error { return m.Load(8, data) },
		"Zero":        func() error { return m.Zero(8, 100) },
		"Checksum":    func() error { _, err := m.Checksum(8, 100); return err },
	} {
		if n := testing.AllocsPerRun(100, func() { must(t, do()) }); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

// TestResident follows pages in and out of the page cache.
func TestResident(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", 4*page)
	must(t, f.Sync())
	m, err := f.Map(4*page, false)
	must(t, err)
	defer func() { must(t, m.Unmap()) }()
	if fsys, ferr := f.Filesystem(); ferr != nil || !fsys.Durable {
		t.Skipf("%s does not drop pages", fsys.Name)
	}
	// until does something until a range is resident as it should be: tries says
	// why once may not be enough.
	until := func(want []bool, off, n int64, do func() error) {
		t.Helper()
		diff := ""
		for range tries {
			must(t, do())
			got, err := m.Resident(off, n)
			must(t, err)
			if diff = cmp.Diff(want, got); diff == "" {
				return
			}
		}
		t.Errorf("resident (-want +got):\n%s", diff)
	}
	until(make([]bool, 4), 1, 4*page-1, func() error { return f.DropCache(0, 0) })
	until([]bool{true}, page, 1, func() error { return m.PopulateRead(page+1, 1) })
}

// TestPopulateOldKernel checks the way without MADV_POPULATE_READ and _WRITE
// (Linux before 5.14): every page of the range is touched, and nothing changed.
func TestPopulateOldKernel(t *testing.T) {
	t.Parallel()
	var calls [][2]int64
	dir := openDir(t, t.TempDir(), nil)
	old := mapFile(t, newFile(t, dir, "old", 4*page), 4*page)
	durabilitytest.Inject(t, dir.Path(), func(c *durabilitytest.Call) error {
		if c.Op == durabilitytest.OpPopulate {
			calls = append(calls, [2]int64{c.Offset, c.Length})
			return unix.EINVAL
		}
		return nil
	})
	must(t, old.Store(2*page-2, []byte("kept"), nil))
	must(t, old.PopulateRead(0, 4*page))
	must(t, old.PopulateWrite(1, 4*page-1))
	got := make([]byte, 4)
	must(t, old.Load(2*page-2, got))
	if string(got) != "kept" {
		t.Errorf("the bytes are %q afterwards, want %q", got, "kept")
	}
	if diff := cmp.Diff([][2]int64{{0, 4 * page}, {1, 4*page - 1}}, calls); diff != "" {
		t.Errorf("offsets and lengths of the calls (-want +got):\n%s", diff)
	}
	must(t, old.File().Truncate(3*page))
	for name, populate := range map[string]func(off, n int64) error{"read": old.PopulateRead, "write": old.PopulateWrite} {
		var fault *durability.FaultError
		if err := populate(1, 4*page-1); !errors.As(err, &fault) || fault.Offset != 3*page {
			t.Errorf("populate %s of a truncated file: %v, want a fault at %d", name, err, 3*page)
		}
	}
}

// TestStoresArePageByPage stores over the end of a file's last page: all that lies
// in it is stored before the fault. An instruction that stored into both pages
// would have stored nothing, and on a full disk may never end.
func TestStoresArePageByPage(t *testing.T) {
	t.Parallel()
	f := newFile(t, newDir(t, nil), "f", 2*page)
	m := mapFile(t, f, 2*page)
	must(t, f.Truncate(page))
	ones := bytes.Repeat([]byte{1}, 400)
	for before := 1; before <= 130; before++ {
		for _, behind := range []int{1, 3, 8, 15, 16, 17, 31, 32, 63, 64, 65, 127, 129, 255, 256} {
			off, n := page-int64(before), before+behind
			must(t, m.Zero(off, int64(before)))
			check := func(what string, err error, want byte) {
				t.Helper()
				var fault *durability.FaultError
				if !errors.As(err, &fault) || fault.Offset < page {
					t.Fatalf("%s of %d bytes, %d of them behind the file's end: %v", what, n, behind, err)
				}
				got := make([]byte, before)
				must(t, m.Load(off, got))
				if bytes.Count(got, []byte{want}) != before {
					t.Fatalf("%s of %d bytes: %d of the %d in the file's last page were stored", what, n, bytes.Count(got, []byte{want}), before)
				}
			}
			check("a store", m.Store(off, ones[:n], nil), 1)
			must(t, m.Zero(off, int64(before)))
			check("a store in two parts", m.Store(off, ones[:before/2], ones[:n-before/2]), 1)
			check("a store of zeros", m.Zero(off, int64(n)), 0)
		}
	}
}
