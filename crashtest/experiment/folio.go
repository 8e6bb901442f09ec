//go:build linux

package experiment

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/seawall-wal/seawall/durability"
)

const (
	folioFileBytes = 8 << 20
	folioRecord    = 100
	folioStores    = 16
)

// folio asks how much one small store makes the device write.
var folio = Experiment{
	Name: "folio",
	Hypothesis: "A store of 100 bytes dirties one whole page-cache folio, and the folio is as large as the write " +
		"that filled it with zeros, from one page to 2 MiB.",
	Clauses: []string{"C2 power loss"},
	measure: measureFolio,
}

// folioMeasured is what folio counts, by the size of the zero-filling write.
type folioMeasured struct {
	Method string     `json:"method"`
	Rows   []folioRow `json:"rows"`
}

// folioRow is one file, filled by writes of one size.
type folioRow struct {
	FillBytes    int64 `json:"fill_bytes"`
	DirtiedBytes int64 `json:"dirtied_bytes"` // by one store, median
	Most         int64 `json:"most_dirtied_bytes"`
	Least        int64 `json:"least_dirtied_bytes"`
	// DeviceBytes is what the whole device wrote during each sync. Others
	// write too: it is shown, not checked. -1 where the device is not known.
	DeviceBytes int64 `json:"device_bytes"`
	// FreeBlocks is how many pieces of memory as large as the fill were free before
	// it, -1 where the kernel does not tell: without them no folio can be so large.
	FreeBlocks  int64   `json:"free_blocks"`
	SyncSeconds float64 `json:"sync_seconds"` // median
}

// measureFolio fills files in several ways and stores into each.
func measureFolio(_ context.Context, l *lab) (measurement, error) {
	m := &folioMeasured{Method: "dirty pages, by cachestat(2)"}
	for _, fill := range []int64{pageBytes, 16 << 10, 64 << 10, 2 << 20} {
		if len(m.Rows) > 0 && fill <= m.Rows[len(m.Rows)-1].FillBytes {
			continue // pages of 16 or 64 KiB
		}
		r, err := folioStore(l, m, fill)
		if err != nil {
			return nil, err
		}
		m.Rows = append(m.Rows, r)
	}
	return m, nil
}

// folioStore fills one file and syncs small stores into it one by one.
func folioStore(l *lab, m *folioMeasured, fill int64) (r folioRow, err error) {
	f, err := l.create(fmt.Sprintf("fill-%d", fill))
	if err != nil {
		return r, err
	}
	r.FreeBlocks = freeBlocks(fill)
	if err = f.Allocate(folioFileBytes, durability.AllocateOptions{FillBytes: int(fill)}); err != nil {
		return r, err
	}
	if err = f.Sync(); err != nil {
		return r, err
	}
	mm, err := l.mapped(f, folioFileBytes, true)
	if err != nil {
		return r, err
	}
	r.FillBytes = fill
	device := deviceOf(f)
	before := device.written()
	var dirtied []int64
	var times []float64
	for i := range int64(folioStores) {
		if err := l.ctx.Err(); err != nil {
			return r, err
		}
		n, took, err := folioOne(m, f, mm, i*(folioFileBytes/folioStores)+pageBytes/2)
		if err != nil {
			return r, err
		}
		dirtied, times = append(dirtied, n), append(times, took)
	}
	r.DeviceBytes = -1
	if after := device.written(); after >= 0 {
		r.DeviceBytes = (after - before) / folioStores
	}
	slices.Sort(dirtied)
	slices.Sort(times)
	r.DirtiedBytes, r.SyncSeconds = dirtied[folioStores/2], times[folioStores/2]
	r.Least, r.Most = dirtied[0], dirtied[folioStores-1]
	if r.Most == 0 {
		return r, cannot("a store dirties no page here: there is nothing to write back")
	}
	return r, mm.Unmap()
}

// folioOne stores one record, counts what became dirty, and syncs it.
func folioOne(m *folioMeasured, f *durability.File, mm *durability.Mapping, off int64) (dirtied int64, seconds float64, err error) {
	record := make([]byte, folioRecord)
	for i := range record {
		record[i] = byte(off>>12) | 1
	}
	stored, err := metered(func() error { return mm.Store(off, record, nil) })
	if err != nil {
		return 0, 0, err
	}
	pc, err := f.PageCache(0, 0)
	if err != nil {
		return 0, 0, err
	}
	dirtied = (pc.Dirty + pc.Writeback) * pageBytes // the file was clean: any sync writes the same
	if pc.Known != durability.Known {
		m.Method = "bytes dirtied by the thread, by /proc/thread-self/io"
		dirtied = stored.DirtiedBytes
	}
	synced, err := metered(func() error { return mm.Sync(off, folioRecord) })
	return dirtied, synced.Seconds, err
}

// freeBlocks returns how many pieces of memory of n bytes, or larger ones, are
// free, or -1 where the kernel does not tell.
func freeBlocks(n int64) int64 {
	text, err := os.ReadFile("/proc/buddyinfo")
	if err != nil {
		return -1
	}
	sum := int64(0)
	for line := range strings.Lines(string(text)) {
		// Documentation/filesystems/proc.rst: Node 0, zone NAME, then for each order
		// the number of free blocks of that many pages, as a power of two.
		fields := strings.Fields(line)
		for order := 0; order+4 < len(fields); order++ {
			if count, err := strconv.ParseInt(fields[order+4], 10, 64); err == nil && pageBytes<<order >= n {
				sum += count
			}
		}
	}
	return sum
}

// check implements measurement. Where memory is in pieces the kernel takes smaller
// folios, and a process that calls sync(2) between a store and the count cleans it: a
// single store that dirties as much as it should shows that it can, and no store
// dirties more.
func (m *folioMeasured) check() complaints {
	var c complaints
	for _, r := range m.Rows {
		text := fmt.Sprintf("filled by writes of %s, a store of %d bytes dirties", bytesText(r.FillBytes), folioRecord)
		switch {
		case r.Most < r.FillBytes && r.FreeBlocks >= 0 && r.FreeBlocks < 2*folioFileBytes/r.FillBytes:
			c.quiet(false, "%s up to %s: only %d pieces of memory were free that are as large as the fill",
				text, bytesText(r.Most), r.FreeBlocks)
		case r.Most != r.FillBytes:
			c.unless(false, "%s up to %s", text, bytesText(r.Most))
		default:
			c.quiet(r.DirtiedBytes == r.FillBytes, "%s %s most of the times, and once %s: another process syncs, or memory is in pieces",
				text, bytesText(r.DirtiedBytes), bytesText(r.Most))
		}
	}
	return c
}

// table implements measurement.
func (m *folioMeasured) table() table {
	t := table{Columns: []string{"filled by", "dirtied by a store", "least", "most", "device, a sync", "time of a sync"}}
	for _, r := range m.Rows {
		device := "unknown"
		if r.DeviceBytes >= 0 {
			device = bytesText(r.DeviceBytes)
		}
		t.add(bytesText(r.FillBytes), bytesText(r.DirtiedBytes), bytesText(r.Least), bytesText(r.Most), device, timeText(r.SyncSeconds))
	}
	t.Note = "counted as " + m.Method
	return t
}
