package durabilitytest_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// workload works in a real directory, traced.
type workload struct {
	t     *testing.T
	rng   *rand.Rand
	rec   *durabilitytest.Recorder
	root  string
	dir   *durability.Dir
	files []*durability.File
	maps  map[*durability.File]*durability.Mapping
	next  int
}

// moment is what the real directory held after that many events.
type moment struct {
	at    int
	files durabilitytest.Files
}

func newWorkload(t *testing.T, seed uint64) *workload {
	w := &workload{
		t: t, rng: rand.New(rand.NewPCG(seed, 6)), rec: durabilitytest.NewRecorder(), root: scratch(t, seed),
		maps: map[*durability.File]*durability.Mapping{},
	}
	base := durabilitytest.Files{"base": []byte("was there before"), "kept/": nil, "kept/f": []byte("kept")}
	w.check(base.WriteTo(w.root))
	w.check(w.rec.Base(w.root))
	sub := filepath.Join(w.root, "made", "here")
	w.check(durability.MkdirAll(sub, 0o755, w.rec))
	for _, path := range []string{w.root, sub} {
		d, err := durability.OpenDir(path, w.rec)
		w.check(err)
		t.Cleanup(func() { w.check(d.Close()) })
		w.dir = d
		for range 2 {
			w.create()
		}
	}
	root, err := durability.OpenDir(w.root, w.rec)
	w.check(err)
	t.Cleanup(func() { w.check(root.Close()) })
	f, err := root.Open("base", true)
	w.check(err)
	w.files = append(w.files, f)
	t.Cleanup(w.close)
	return w
}

// scratch returns an empty directory: for seed 0 on whatever filesystem tests run
// on, for the others in memory, where that is to be had and where a
// sync takes no time.
func scratch(t *testing.T, seed uint64) string {
	t.Helper()
	if seed == 0 {
		return t.TempDir()
	}
	path, err := os.MkdirTemp("/dev/shm", "durabilitytest")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

func (w *workload) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// injected lets the errors pass that the test itself makes.
func (w *workload) injected(err error) bool {
	w.t.Helper()
	if err == nil || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOSPC) || errors.Is(err, durabilitytest.ErrDrop) || errors.Is(err, durability.ErrFailed) {
		return err == nil
	}
	w.t.Fatal(err)
	return false
}

func (w *workload) close() {
	for _, f := range w.files {
		if m := w.maps[f]; m != nil {
			w.check(m.Unmap())
		}
		w.check(f.Close())
	}
}

// name returns a name that was not there before.
func (w *workload) name() string {
	w.next++
	return fmt.Sprintf("f%d", w.next)
}

// create makes a file with blocks and a mapping of them.
func (w *workload) create() {
	f, err := w.dir.Create(w.name(), 0o644)
	if !w.injected(err) {
		return
	}
	w.files = append(w.files, f)
	size := int64(1+w.rng.IntN(6)) * 2048
	if !w.injected(f.Allocate(size, durability.AllocateOptions{FillBytes: os.Getpagesize()})) {
		return
	}
	if m, err := f.Map(size, true); w.injected(err) {
		w.maps[f] = m
	}
}

// step performs one random operation.
func (w *workload) step() {
	rng := w.rng
	f := w.files[rng.IntN(len(w.files))]
	data := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, 1+rng.IntN(1500))
	if m := w.maps[f]; m != nil && rng.IntN(2) == 0 {
		w.throughMapping(m, data)
		return
	}
	var err error
	switch rng.IntN(11) {
	case 0:
		w.create()
	case 1:
		_, err = f.WriteAt(data, int64(rng.IntN(9000)))
	case 2:
		// Never below a mapping: that is not what is tried here.
		size := int64(rng.IntN(9000))
		if m := w.maps[f]; m != nil {
			size += m.Len()
		}
		err = f.Truncate(size)
	case 3:
		if name := w.name(); f.Name() != "base" {
			err = w.dir.Rename(f.Name(), name, nil)
			if errors.Is(err, os.ErrNotExist) {
				err = nil // it is in the other directory
			}
		}
	case 4:
		err = w.dir.WriteFile(fmt.Sprintf("w%d", rng.IntN(3)), data, 0o644)
	case 5:
		err = w.dir.CreateFile(w.name(), data, 0o644)
	case 6:
		err = w.dir.Remove(fmt.Sprintf("w%d", rng.IntN(3)))
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	case 7:
		_, err = f.FillHoles(durability.AllocateOptions{})
	case 8:
		err = f.Datasync()
	case 9:
		err = w.dir.Sync()
	case 10:
		w.reopen(f)
	}
	w.injected(err)
}

// throughMapping performs one random operation on a mapping.
func (w *workload) throughMapping(m *durability.Mapping, data []byte) {
	off := w.rng.Int64N(m.Len() - int64(len(data)) + 1)
	var err error
	switch w.rng.IntN(4) {
	case 0:
		cut := w.rng.IntN(len(data) + 1)
		err = m.Store(off, data[:cut], data[cut:])
	case 1:
		err = m.StoreUint64(off&^7, w.rng.Uint64())
	case 2:
		err = m.Zero(off, int64(len(data)))
	case 3:
		err = m.Sync(off, int64(len(data)))
	}
	w.injected(err)
}

// reopen closes a file, which gives it a new identity, and opens it again.
func (w *workload) reopen(f *durability.File) {
	if w.maps[f] != nil {
		return
	}
	again, err := w.dir.Open(f.Name(), true)
	if err != nil {
		return // it was removed, renamed behind its back, or is in the other directory
	}
	w.check(f.Close())
	w.files[slices.Index(w.files, f)] = again
}

// run performs n operations, and keeps what was there after each.
func (w *workload) run(n int) []moment {
	var moments []moment
	for range n {
		w.step()
		files, err := durabilitytest.ReadFiles(w.root)
		w.check(err)
		moments = append(moments, moment{w.rec.Len(), files})
	}
	return moments
}

// compare holds the replay against what was really there.
func (w *workload) compare(seed uint64, moments []moment) {
	w.t.Helper()
	for i, m := range moments {
		if diff := diffFiles(m.files, w.rec.Killed(w.root, m.at, math.MaxInt)); diff != "" {
			w.t.Fatalf("PCG seed (%d, 6), operation %d, after %d events: (-directory +replay)\n%s\n%s", seed, i, m.at, diff, list(w.rec.Events()[max(0, m.at-20):m.at]))
		}
	}
	last := moments[len(moments)-1].files
	if diff := diffFiles(last, w.rec.Final(w.root)); diff != "" {
		w.t.Fatalf("PCG seed (%d, 6): Final (-directory +replay)\n%s", seed, diff)
	}
}

// diffFiles is cmp.Diff, which looks at every byte by reflection, only where
// there is a difference.
func diffFiles(want, got durabilitytest.Files) string {
	if maps.EqualFunc(want, got, bytes.Equal) {
		return ""
	}
	return cmp.Diff(want, got)
}

func TestReplayIsTheRealDirectory(t *testing.T) {
	t.Parallel()
	each, _ := seeds(t, 5, 15)
	for seed := range each {
		w := newWorkload(t, seed)
		w.compare(seed, w.run(150))

		// Once everything is synced, no state is left but the real one.
		for _, f := range w.files {
			w.check(f.Sync())
		}
		// Files that no longer are open under a name that we know.
		files, err := durabilitytest.ReadFiles(w.root)
		w.check(err)
		for name := range files {
			d, err := durability.OpenDir(filepath.Dir(filepath.Join(w.root, name)), w.rec)
			w.check(err)
			if f, err := d.Open(filepath.Base(name), true); err == nil {
				w.check(f.Sync())
				w.check(f.Close())
			}
			w.check(d.Sync())
			w.check(d.Close())
		}
		for _, mode := range []durabilitytest.CrashMode{durabilitytest.Drop, durabilitytest.Mix, durabilitytest.Keep} {
			if diff := diffFiles(files, w.rec.CrashAs(mode, w.root, w.rec.Len(), w.rng)); diff != "" {
				t.Fatalf("PCG seed (%d, 6), all synced, mode %d: (-directory +state)\n%s", seed, mode, diff)
			}
		}
	}
}

// TestReplayOfFailures does the same where one operation in five fails: what
// failed, in front of the kernel or behind it, or was dropped, did what the
// trace says.
func TestReplayOfFailures(t *testing.T) {
	t.Parallel()
	each, _ := seeds(t, 5, 15)
	for seed := range each {
		w := newWorkload(t, seed)
		rng := rand.New(rand.NewPCG(seed, 7))
		remove := durabilitytest.InjectDir(w.root, func(c *durabilitytest.Call) error {
			switch {
			case c.Op > durability.OpTruncate || rng.IntN(5) > 0:
				return nil
			case c.Phase == durability.After:
				return unix.EIO
			}
			return []error{unix.EIO, unix.ENOSPC, durabilitytest.ErrDrop}[rng.IntN(3)]
		})
		moments := w.run(150)
		remove()
		w.compare(seed, moments)
	}
}
