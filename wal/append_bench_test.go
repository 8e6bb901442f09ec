package wal_test

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// Each benchmark runs the log and the bare physical work in turn, in one
// directory, and reports the medians and their ratio: machines are noisy,
// ratios less so. SEAWALL_BENCH_DIR names the directory.

// benchDir returns a directory on the filesystem to be measured.
func benchDir(b *testing.B) string {
	if base := os.Getenv("SEAWALL_BENCH_DIR"); base != "" {
		dir, err := os.MkdirTemp(base, "bench")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return b.TempDir()
}

// turns is how often the two take turns.
const turns = 7

// compare runs both in turn, each n operations a round, and reports.
func compare(b *testing.B, n int, raw, log func(round, n int)) {
	b.Helper()
	var raws, logs []float64
	for b.Loop() {
		for r := range turns {
			begin := time.Now()
			raw(r, n)
			raws = append(raws, float64(time.Since(begin).Nanoseconds())/float64(n))
			begin = time.Now()
			log(r, n)
			logs = append(logs, float64(time.Since(begin).Nanoseconds())/float64(n))
		}
	}
	slices.Sort(raws)
	slices.Sort(logs)
	r, l := raws[len(raws)/2], logs[len(logs)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(r, "raw-ns/op")
	b.ReportMetric(l, "log-ns/op")
	b.ReportMetric(l/r, "ratio")
	b.ReportMetric(logs[0]/r, "ratio-best")
	b.ReportMetric(logs[len(logs)-1]/r, "ratio-worst")
}

// rawMapping maps a written file.
func rawMapping(b *testing.B, dir string, size int) []byte {
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for range size / (64 << 10) {
		if _, err = f.Write(make([]byte, 64<<10)); err != nil {
			b.Fatal(err)
		}
	}
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// BenchmarkAppend compares appends within a segment with the same bytes
// checksummed and copied into a ready mapping under a mutex.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			const n = 4000
			dir := benchDir(b)
			l := benchLog(b, dir, wal.Options{SegmentBytes: 1 << 30, SegmentsAhead: 1, FillBytes: 2 << 20})
			m := rawMapping(b, dir, 64<<20)
			table := crc32.MakeTable(crc32.Castagnoli)
			p := make([]byte, size)
			var mu sync.Mutex
			off := 0
			b.ReportAllocs()
			compare(b, n, func(_, n int) {
				for range n {
					sum := crc32.Checksum(p, table)
					mu.Lock()
					if off+size+24 > len(m) {
						off = 0
					}
					m[off] = byte(sum)
					copy(m[off+24:], p)
					off += size + 24
					mu.Unlock()
				}
			}, func(_, n int) {
				for range n {
					if _, err := l.Append(p); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// benchLog opens a log to be measured.
func benchLog(b *testing.B, dir string, o wal.Options) *wal.Log {
	l, err := wal.Open(filepath.Join(dir, "log"), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

// BenchmarkDurable compares durable appends of 100 bytes by 1 and 64 writers
// with raw fdatasyncs of as many records.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			dir := benchDir(b)
			l := benchLog(b, dir, wal.Options{Sync: wal.SyncEach})
			f, err := os.Create(filepath.Join(dir, "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			for range (16 << 20) / 4096 {
				if _, err := f.Write(make([]byte, 4096)); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			off := int64(0)
			p := make([]byte, 124*writers)
			compare(b, 300*writers, func(_, n int) {
				for range n / writers {
					if off+int64(len(p)) > 16<<20 {
						off = 0
					}
					if _, err := f.WriteAt(p, off); err != nil {
						b.Fatal(err)
					}
					if err := unix.Fdatasync(int(f.Fd())); err != nil {
						b.Fatal(err)
					}
					off += int64(len(p))
				}
			}, func(_, n int) {
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for range n / writers {
							if _, err := l.Append(p[:100]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

// BenchmarkStream compares a stream of 1 KiB records without syncs, over
// prepared and rotated segments, with write(2) of the same bytes by 64 KiB and
// an fsync for each file of 64 MiB.
func BenchmarkStream(b *testing.B) {
	const total, record, file = 1 << 30, 1 << 10, 64 << 20
	dir := benchDir(b)
	p := make([]byte, 64<<10)
	compare(b, total/record, func(_, n int) {
		for i := range n * record / file {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint("raw", i)))
			if err != nil {
				b.Fatal(err)
			}
			for range file / len(p) {
				if _, err := f.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
			if err := os.Remove(f.Name()); err != nil {
				b.Fatal(err)
			}
		}
	}, func(r, n int) {
		path := filepath.Join(dir, fmt.Sprint("log", r))
		l, err := wal.Open(path, wal.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for range n {
			if _, err := l.Append(p[:record]); err != nil {
				b.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(path); err != nil {
			b.Fatal(err)
		}
	})
}
