//go:build linux

package experiment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

const (
	tornPages = 4

	// tornFirst is the batch's first page in the file. Two pages stand guard, the
	// first and the last of the file, with a page between them and the batch: they
	// are dirty while a state is made, and nobody here writes them back.
	tornFirst = 2
	tornFile  = tornFirst + tornPages + tornFirst

	// tornTries is how often a state is made afresh. A process that calls sync(2) on the
	// same filesystem at that time writes all pages back, the guards with them.
	tornTries = 30
)

// torn asks what a crash may leave of one unsynced batch.
var torn = Experiment{
	Name: "torn",
	Hypothesis: "Of the pages of one unsynced batch the device may have any subset: each of them can be made, " +
		"by writing back single pages in any order.",
	Clauses: []string{"C2 power loss", "C3 legal prefix", "C5 torn or damaged"},
	measure: measureTorn,
}

// tornMeasured is what torn found for each subset.
type tornMeasured struct {
	Pages  int         `json:"pages"`
	Method string      `json:"method"`
	States []tornState `json:"states"`
}

// tornState is one subset. The strings have a letter for each page.
type tornState struct {
	WrittenBack string `json:"written_back"` // x, or . for a page that was left
	// Device is what the device has: n the batch's bytes, o the bytes from before
	// it, - not asked, because the page cache holds the page dirty, ? other bytes.
	Device    string `json:"device"`
	Dirty     int64  `json:"dirty_pages"`
	Tries     int    `json:"tries"`
	Disturbed int    `json:"disturbed"` // tries in which another process wrote a guard back
}

// tornLab is the file, its mapping, and the device below.
type tornLab struct {
	f        *durability.File
	m        *durability.Mapping
	raw      *rawFile
	old, new []byte // a page each
}

// measureTorn makes every subset.
func measureTorn(_ context.Context, l *lab) (measurement, error) {
	t, err := newTornLab(l)
	if err != nil {
		return nil, err
	}
	m := &tornMeasured{Pages: tornPages, Method: "the block device was read below the filesystem"}
	if t.raw == nil {
		m.Method = "pages that are not dirty were read with O_DIRECT; the block device itself cannot be read here"
	}
	for subset := range 1 << tornPages {
		s := tornState{}
		for !s.holds() && s.Tries < tornTries {
			if err := l.ctx.Err(); err != nil {
				return nil, err
			}
			if err := t.make(&s, subset, l.random.Perm(tornPages)); err != nil {
				return nil, err
			}
		}
		m.States = append(m.States, s)
	}
	return m, nil
}

// newTornLab creates a file whose folios are single pages.
func newTornLab(l *lab) (*tornLab, error) {
	const size = tornFile
	f, err := l.create("torn")
	if err != nil {
		return nil, err
	}
	t := &tornLab{f: f, old: bytes.Repeat([]byte("o"), int(pageBytes)), new: bytes.Repeat([]byte("n"), int(pageBytes))}
	// Bytes that no earlier file on the device has.
	for i := range t.old {
		t.old[i], t.new[i] = byte(l.random.Uint32()), byte(l.random.Uint32())
	}
	if err = f.Allocate(size*pageBytes, durability.AllocateOptions{FillBytes: int(pageBytes)}); err != nil {
		return nil, err
	}
	if t.m, err = l.mapped(f, size*pageBytes, true); err != nil {
		return nil, err
	}
	if err := errors.Join(t.store(t.old), t.guard(t.old), f.Sync()); err != nil {
		return nil, err
	}
	if _, how, err := f.ReadDirect(make([]byte, pageBytes), 0); err != nil || how != durability.ModeDirect {
		if err == nil {
			err = cannot("the device cannot be read around the page cache: %s", f.DirectReason())
		}
		return nil, err
	}
	if t.raw = openRaw(f, size*pageBytes); t.raw == nil {
		return t, nil
	}
	l.later(t.raw.close)
	// Addresses are the device's own only where the bytes are there.
	for i := range int64(tornPages) {
		if got, err := t.raw.page((tornFirst + i) * pageBytes); err != nil || !bytes.Equal(got, t.old) {
			t.raw = nil
			break
		}
	}
	return t, nil
}

// store stores the same page into all pages of the batch.
func (t *tornLab) store(page []byte) error {
	for i := range int64(tornPages) {
		if err := t.m.Store((tornFirst+i)*pageBytes, page, nil); err != nil {
			return err
		}
	}
	return nil
}

// guard stores the same page into both guards.
func (t *tornLab) guard(page []byte) error {
	return errors.Join(t.m.Store(0, page, nil), t.m.Store((tornFile-1)*pageBytes, page, nil))
}

// guarded reports whether both guards are still dirty.
func (t *tornLab) guarded() (bool, error) {
	first, err := dirtyPages(t.f, 0, pageBytes)
	last, lerr := dirtyPages(t.f, (tornFile-1)*pageBytes, pageBytes)
	return first == 1 && last == 1, errors.Join(err, lerr)
}

// make stores a batch over synced pages, writes a subset of them back in the
// given order, and looks.
func (t *tornLab) make(s *tornState, subset int, order []int) error {
	s.Tries++
	if err := t.store(t.old); err != nil {
		return err
	}
	if err := t.m.Sync(0, t.m.Len()); err != nil {
		return err
	}
	if err := errors.Join(t.guard(t.new), t.store(t.new)); err != nil {
		return err
	}
	written := []byte(strings.Repeat(".", tornPages))
	for _, i := range order {
		if subset&(1<<i) == 0 {
			continue
		}
		written[i] = 'x'
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		if err := unix.SyncFileRange(t.f.Fd(), (tornFirst+int64(i))*pageBytes, pageBytes, all); err != nil {
			return fmt.Errorf("sync_file_range: %w", err)
		}
	}
	s.WrittenBack = string(written)
	var err error
	if s.Dirty, err = dirtyPages(t.f, tornFirst*pageBytes, tornPages*pageBytes); err != nil {
		return err
	}
	if s.Device, err = t.look(); err != nil {
		return err
	}
	quiet, err := t.guarded()
	if !quiet {
		s.Disturbed++
	}
	return err
}

// look returns a letter for what the device has of each page.
func (t *tornLab) look() (string, error) {
	seen := make([]byte, tornPages)
	for i := range seen {
		page, err := t.devicePage((tornFirst + int64(i)) * pageBytes)
		switch {
		case err != nil:
			return "", err
		case page == nil:
			seen[i] = '-'
		case bytes.Equal(page, t.old):
			seen[i] = 'o'
		case bytes.Equal(page, t.new):
			seen[i] = 'n'
		default:
			seen[i] = '?'
		}
	}
	return string(seen), nil
}

// devicePage returns what the device has of a page, or nil where asking would
// write the page back first: a direct read of a dirty page does.
func (t *tornLab) devicePage(off int64) ([]byte, error) {
	if t.raw != nil {
		return t.raw.page(off)
	}
	if dirty, err := dirtyPages(t.f, off, pageBytes); err != nil || dirty > 0 {
		return nil, err
	}
	page := make([]byte, pageBytes)
	_, _, err := t.f.ReadDirect(page, off)
	return page, err
}

// holds reports whether the device has the subset and nothing else.
func (s tornState) holds() bool {
	if s.Device == "" || len(s.Device) != len(s.WrittenBack) {
		return false
	}
	for i := range s.Device {
		if (s.WrittenBack[i] == 'x') != (s.Device[i] == 'n') || s.Device[i] == '?' {
			return false
		}
	}
	return s.Dirty == int64(strings.Count(s.WrittenBack, "."))
}

// contradicts reports whether a page that was written back is not on the device.
func (s tornState) contradicts() bool {
	if len(s.Device) != len(s.WrittenBack) {
		return true
	}
	for i := range s.Device {
		if s.WrittenBack[i] == 'x' && s.Device[i] != 'n' {
			return true
		}
	}
	return false
}

// check implements measurement. A state that was made once can be made. One that
// never was says nothing where the guards were written back in half of the tries:
// so were the batch's pages, which nobody here wrote, or were just being written.
// That a page which was written back is not on the device nobody else can bring
// about.
func (m *tornMeasured) check() complaints {
	var c complaints
	made := make(map[string]bool)
	for _, s := range m.States {
		made[s.WrittenBack] = true
		text := fmt.Sprintf("pages %s were written back, the device has %s, %d are dirty", s.WrittenBack, s.Device, s.Dirty)
		if 2*s.Disturbed >= s.Tries && !s.contradicts() {
			c.quiet(s.holds(), "%s: another process wrote the file in %d of %d tries", text, s.Disturbed, s.Tries)
			continue
		}
		c.unless(s.holds(), "%s", text)
	}
	c.unless(len(made) == 1<<m.Pages, "%d of %d subsets were made", len(made), 1<<m.Pages)
	return c
}

// table implements measurement.
func (m *tornMeasured) table() table {
	t := table{Columns: []string{"written back", "device", "dirty", "tries"}, Note: "x written back; device: n new, o old, - not asked. " + m.Method}
	for _, s := range m.States {
		t.add(s.WrittenBack, s.Device, s.Dirty, s.Tries)
	}
	return t
}
