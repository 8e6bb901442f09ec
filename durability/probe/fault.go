package probe

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

const (
	faultFileBytes = 4 << 20

	// faultMajor is how many pages are loaded from the device: few, as each is a seek on
	// a disk that turns.
	faultMajor = 64
)

// The kinds of faults.
const (
	FaultStore    = "store, small folios"
	FaultStoreBig = "store, 64 KiB folios"
	FaultPopulate = "MADV_POPULATE_WRITE"
	FaultLoad     = "load, in memory"
	FaultMajor    = "load, from the device"
)

// measureFaults maps files that are in the page cache and touches each page once, and
// then pages that only the device has.
func measureFaults(b *bench) (func(*Result), error) {
	small, err := b.filled("fault-small", faultFileBytes, pageBytes)
	if err != nil {
		return nil, err
	}
	large, err := b.filled("fault-large", faultFileBytes, max(pageBytes, 64<<10))
	if err != nil {
		return nil, err
	}
	rows, errs := []Fault{}, []error{}
	for _, k := range []struct {
		kind  string
		f     *durability.File
		touch func(*durability.Mapping, int64) error
	}{
		{FaultStore, small, storeByte},
		{FaultStoreBig, large, storeByte},
		{FaultPopulate, small, nil},
		{FaultLoad, small, loadByte},
	} {
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		row, err := b.minorFaults(k.kind, k.f, k.touch)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.kind, err))
			continue
		}
		rows = append(rows, row)
	}
	if row, err := b.majorFaults(small); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", FaultMajor, err))
	} else {
		rows = append(rows, row)
	}
	return func(r *Result) { r.Faults = rows }, errors.Join(errs...)
}

// storeByte stores a byte.
func storeByte(m *durability.Mapping, off int64) error { return m.Store(off, []byte{1}, nil) }

// loadByte loads a byte.
func loadByte(m *durability.Mapping, off int64) error { return m.Load(off, make([]byte, 1)) }

// minorFaults touches every page of a clean file in memory through a new mapping; where
// touch is nil they are populated.
func (b *bench) minorFaults(kind string, f *durability.File, touch func(*durability.Mapping, int64) error) (Fault, error) {
	if err := f.Datasync(); err != nil {
		return Fault{}, err
	}
	m, err := f.Map(faultFileBytes, true)
	if err != nil {
		return Fault{}, err
	}
	b.later(m.Unmap)
	cost, err := metered(func() error {
		if touch == nil {
			return unix.Madvise(m.Bytes(), unix.MADV_POPULATE_WRITE)
		}
		for off := int64(0); off < faultFileBytes; off += pageBytes {
			if terr := touch(m, off); terr != nil {
				return terr
			}
		}
		return nil
	})
	if err != nil {
		return Fault{}, err
	}
	return fault(kind, faultFileBytes/pageBytes, cost), m.Unmap()
}

// majorFaults loads scattered pages that are not in memory, one by one, without
// readahead.
func (b *bench) majorFaults(f *durability.File) (Fault, error) {
	if err := errors.Join(f.Datasync(), f.DropCache(0, 0)); err != nil {
		return Fault{}, err
	}
	m, err := f.Map(faultFileBytes, false)
	if err != nil {
		return Fault{}, err
	}
	b.later(m.Unmap)
	if err = m.Advise(durability.AdviceRandom, 0, faultFileBytes); err != nil {
		return Fault{}, err
	}
	pages := min(faultMajor, faultFileBytes/pageBytes)
	stride := faultFileBytes / pages
	done := int64(0)
	cost, err := metered(func() error {
		for ; done < pages && (done == 0 || !b.over(0.95)); done++ {
			if lerr := loadByte(m, (done*21%pages)*stride); lerr != nil {
				return lerr
			}
		}
		return nil
	})
	if err != nil {
		return Fault{}, err
	}
	row := fault(FaultMajor, done, cost)
	if row.Major == 0 {
		return row, errors.New("no load went to the device: it keeps its pages in memory")
	}
	return row, m.Unmap()
}

// fault sums up what touching pages cost.
func fault(kind string, pages int64, cost usage) Fault {
	return Fault{Kind: kind, Pages: pages, Minor: cost.minor, Major: cost.major, Seconds: cost.seconds / float64(max(1, pages))}
}
