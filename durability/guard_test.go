package durability_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// truncated returns a mapping of four pages whose file was cut after the first.
func truncated(t *testing.T) *durability.Mapping {
	t.Helper()
	m := newMapping(t, 4*page)
	must(t, m.File().Truncate(page))
	return m
}

// TestFault touches what a truncation took away, in every way.
func TestFault(t *testing.T) {
	t.Parallel()
	table := crc32.MakeTable(crc32.Castagnoli)
	some := bytes.Repeat([]byte{7}, 64)
	cases := []struct {
		name string
		do   func(m *durability.Mapping) error
		op   string
		at   int64 // -1: anywhere behind the cut
	}{
		{"Store", func(m *durability.Mapping) error { return m.Store(page+8, some, nil) }, "store", page + 8},
		{"Store of the second part", func(m *durability.Mapping) error { return m.Store(page-64, some, some) }, "store", page},
		{"StoreUint64", func(m *durability.Mapping) error { return m.StoreUint64(page+16, 1) }, "store", page + 16},
		{"LoadUint64", func(m *durability.Mapping) error { _, err := m.LoadUint64(page + 16); return err }, "load", page + 16},
		{"LoadUint32", func(m *durability.Mapping) error { _, err := m.LoadUint32(page + 1); return err }, "load", page + 1},
		{"Load", func(m *durability.Mapping) error { return m.Load(page, some[:8:8]) }, "load", page},
		{"Zero", func(m *durability.Mapping) error { return m.Zero(page, page) }, "store", -1},
		{"Checksum", func(m *durability.Mapping) error { _, err := m.Checksum(0, 4*page); return err }, "checksum", -1},
		{"PopulateRead", func(m *durability.Mapping) error { return m.PopulateRead(0, 4*page) }, "load", page},
		{"PopulateWrite", func(m *durability.Mapping) error { return m.PopulateWrite(0, 4*page) }, "store", page},
		{"ReadAt into it", func(m *durability.Mapping) error {
			_, err := m.File().ReadAt(m.Bytes()[2*page:2*page+9], 0)
			return err
		}, "read", 2 * page},
		{"ReadDirect into it", func(m *durability.Mapping) error {
			_, _, err := m.File().ReadDirect(m.Bytes()[2*page:2*page+9], 0)
			return err
		}, "", 2 * page},
		{"WriteAt from it", func(m *durability.Mapping) error {
			_, err := m.File().WriteAt(m.Bytes()[page-8:page+8], 0)
			return err
		}, "write", page},
		{"load in Guard", func(m *durability.Mapping) error {
			return durability.Guard(func() error { some[0] = m.Bytes()[3*page]; return nil })
		}, "access", 3 * page},
		{"store in Guard", func(m *durability.Mapping) error {
			return durability.Guard(func() error { m.Bytes()[3*page+5] = 1; return nil })
		}, "access", 3*page + 5},
		{"copy in Guard", func(m *durability.Mapping) error {
			return durability.Guard(func() error { copy(m.Bytes()[page:], some); return nil })
		}, "access", -1},
		{"assembly in Guard", func(m *durability.Mapping) error {
			return durability.Guard(func() error { crc32.Checksum(m.Bytes(), table); return nil })
		}, "access", -1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := truncated(t)
			err := c.do(m)
			var fault *durability.FaultError
			if !errors.As(err, &fault) {
				t.Fatalf("error is %v, want a FaultError", err)
			}
			if c.op != "" && fault.Op != c.op {
				t.Errorf("Op is %q, want %q", fault.Op, c.op)
			}
			if c.at >= 0 && fault.Offset != c.at {
				t.Errorf("Offset is %d, want %d", fault.Offset, c.at)
			}
			if fault.Offset < page || fault.Offset >= 4*page {
				t.Errorf("Offset is %d, want one behind the cut at %d", fault.Offset, page)
			}
			if fault.File != m.File().Path() {
				t.Errorf("File is %q, want %q", fault.File, m.File().Path())
			}
			if debug.SetPanicOnFault(false) {
				t.Error("the goroutine is left with SetPanicOnFault(true)")
			}
		})
	}
}

// TestFaultInSource tells the mapping that faulted from the one that was stored
// to.
func TestFaultInSource(t *testing.T) {
	t.Parallel()
	source, target := truncated(t), newMapping(t, page)
	err := target.Store(0, source.Bytes()[2*page:2*page+8], nil)
	var fault *durability.FaultError
	if !errors.As(err, &fault) || fault.File != source.File().Path() || fault.Offset != 2*page {
		t.Errorf("error is %v, want a fault at offset %d of %s", err, 2*page, source.File().Path())
	}
}

// TestFaultSilent pins what is no fault: within the last page of the file,
// stores work and are lost, and msync finds nothing wrong (mmap(2), NOTES).
func TestFaultSilent(t *testing.T) {
	t.Parallel()
	m := newMapping(t, 4*page)
	e, err := m.File().Expect()
	must(t, err)
	must(t, m.File().Truncate(page+100))
	must(t, m.Store(page+200, []byte("lost"), nil))
	must(t, m.Sync(0, 4*page))
	must(t, m.File().Truncate(4*page))
	got := make([]byte, 4)
	_, err = m.File().ReadAt(got, page+200)
	must(t, err)
	if string(got) != "\x00\x00\x00\x00" {
		t.Errorf("bytes behind the end of the file are %q after all", got)
	}
	var changed *durability.ChangedError
	if err := m.File().Check(e); !errors.As(err, &changed) {
		t.Errorf("Check returns %v, want a ChangedError", err)
	}
}

// unmapped returns the bytes of a mapping that is gone. Nobody else's mapping
// can come to its address until the test ends: other tests, and the runtime, use
// the same address space.
func unmapped(t *testing.T) []byte {
	t.Helper()
	f := newFile(t, newDir(t, nil), "gone", page)
	for {
		gone := mapFile(t, f, page)
		stale := gone.Bytes()
		must(t, gone.Unmap())
		at := unsafe.Pointer(unsafe.SliceData(stale))
		const flags = unix.MAP_ANON | unix.MAP_PRIVATE | unix.MAP_FIXED_NOREPLACE
		kept, err := unix.MmapPtr(-1, 0, at, uintptr(page), unix.PROT_NONE, flags)
		if errors.Is(err, unix.EEXIST) {
			continue // another goroutine was quicker
		}
		must(t, err)
		t.Cleanup(func() { must(t, unix.MunmapPtr(kept, uintptr(page))) })
		if kept != at {
			t.Fatalf("the kernel has no MAP_FIXED_NOREPLACE: %p instead of %p", kept, at)
		}
		return stale
	}
}

// TestGuardPassesOn checks that Guard returns errors and lets every panic
// through that is not a fault of ours.
func TestGuardPassesOn(t *testing.T) {
	t.Parallel()
	want := errors.New("an error")
	if err := durability.Guard(func() error { return want }); err != want { //nolint:errorlint // the very same
		t.Errorf("Guard returns %v, want %v", err, want)
	}
	foreign, err := unix.Mmap(-1, 0, int(page), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Munmap(foreign)) })
	stale := unmapped(t)
	value := &struct{ int }{1}
	cases := []struct {
		name string
		do   func()
		ok   func(r any) bool
	}{
		{"the same value", func() { panic(value) }, func(r any) bool { return r == any(value) }},
		{"nil dereference", func() { value = nil; value.int = 2 }, func(r any) bool {
			return strings.Contains(r.(runtime.Error).Error(), "nil pointer dereference")
		}},
		{"out of range", func() { _ = make([]byte, 1)[len(foreign)] }, func(r any) bool {
			return strings.Contains(r.(runtime.Error).Error(), "out of range")
		}},
		{"a stranger's address", func() { foreign[9] = 1 }, func(r any) bool {
			return addrOf(r) == addressOf(foreign)+9
		}},
		{"a mapping that is gone", func() { stale[3] = 1 }, func(r any) bool {
			return addrOf(r) == addressOf(stale)+3
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				r := recover()
				if r == nil || !c.ok(r) {
					t.Errorf("the panic is %v (%T), want it passed through", r, r)
				}
				if debug.SetPanicOnFault(false) {
					t.Error("the goroutine is left with SetPanicOnFault(true)")
				}
			}()
			err := durability.Guard(func() error { c.do(); return nil })
			t.Errorf("Guard returns %v, want the panic passed through", err)
		})
	}
}

// TestGuardReadOnly says why a store into a read-only mapping faults.
func TestGuardReadOnly(t *testing.T) {
	t.Parallel()
	m, err := newFile(t, newDir(t, nil), "f", page).Map(page, false)
	must(t, err)
	defer func() { must(t, m.Unmap()) }()
	err = durability.Guard(func() error { m.Bytes()[5] = 1; return nil })
	var fault *durability.FaultError
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("error is %v, want a FaultError that says read-only", err)
	}
}

// TestGuardNests checks that an inner Guard leaves the outer one in force, and
// that the setting of the goroutine from before is restored.
func TestGuardNests(t *testing.T) {
	t.Parallel()
	m := truncated(t)
	for _, before := range []bool{false, true} {
		debug.SetPanicOnFault(before)
		err := durability.Guard(func() error {
			inner := durability.Guard(func() error { m.Bytes()[page] = 1; return nil })
			var fault *durability.FaultError
			if !errors.As(inner, &fault) || fault.Offset != page {
				t.Errorf("inner error is %v, want a fault at %d", inner, page)
			}
			if err := m.StoreUint64(0, 1); err != nil {
				t.Error(err)
			}
			m.Bytes()[2*page] = 1
			return nil
		})
		var fault *durability.FaultError
		if !errors.As(err, &fault) || fault.Offset != 2*page {
			t.Errorf("outer error is %v, want a fault at %d", err, 2*page)
		}
		if got := debug.SetPanicOnFault(false); got != before {
			t.Errorf("the setting of the goroutine is %v afterwards, want %v", got, before)
		}
	}
}

// TestFaultAmongMany finds the right one of many mappings that lie side by side,
// also after some have gone and others have come into their places.
func TestFaultAmongMany(t *testing.T) {
	t.Parallel()
	d := newDir(t, nil)
	f := newFile(t, d, "f", 2*page)
	maps := make([]*durability.Mapping, 50)
	for i := range maps {
		maps[i] = mapFile(t, f, 2*page)
	}
	for i := 0; i < len(maps); i += 3 {
		must(t, maps[i].Unmap())
	}
	for i := 0; i < len(maps); i += 3 {
		maps[i] = mapFile(t, f, 2*page)
	}
	must(t, f.Truncate(0))
	for i, m := range maps {
		for _, off := range []int64{0, 2*page - 1} {
			var fault *durability.FaultError
			if err := m.Store(off, []byte{1}, nil); !errors.As(err, &fault) || fault.Offset != off {
				t.Errorf("mapping %d: error is %v, want a fault at %d", i, err, off)
			}
		}
	}
}

// TestFaultBesideTruncation loads and stores numbers while the file is cut and
// extended again, so that the fault may come at any instruction of an access.
func TestFaultBesideTruncation(t *testing.T) {
	t.Parallel()
	m := newMapping(t, 2*page)
	var done atomic.Bool
	var work sync.WaitGroup
	for _, access := range []func() error{
		func() error { return m.StoreUint64(page+8, 1) },
		func() error { _, err := m.LoadUint64(page + 16); return err },
		func() error { _, err := m.LoadUint32(page + 24); return err },
	} {
		work.Go(func() {
			for !done.Load() {
				var fault *durability.FaultError
				if err := access(); err != nil && !errors.As(err, &fault) {
					t.Errorf("error is %v, want a fault", err)
					return
				}
			}
		})
	}
	for range 2_000 {
		must(t, m.File().Truncate(page))
		must(t, m.File().Truncate(2*page))
	}
	done.Store(true)
	work.Wait()
}
