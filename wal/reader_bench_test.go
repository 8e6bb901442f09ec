package wal_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// benchRecords is how many records of each size the reading benchmarks read.
const benchRecords = 20000

// readLog opens a log of many segments, all in memory, for reading.
func readLog(b *testing.B, size int) *wal.Log {
	b.Helper()
	l := benchLog(b, benchDir(b), wal.Options{SegmentBytes: 1 << 20})
	for range benchRecords {
		if _, err := l.Append(make([]byte, size)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Sync(); err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkReader reads all records of a log in their order.
func BenchmarkReader(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for name, lent := range map[string]bool{"copy": false, "zerocopy": true} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				l := readLog(b, size)
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					r := l.Reader(1)
					if lent {
						r.ZeroCopy()
					}
					for n = 0; r.Next(); n++ {
						_ = r.Record()
					}
					if err := r.Close(); err != nil || n != benchRecords {
						b.Fatal(n, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
			})
		}
	}
}

// BenchmarkGet gets records all over a log.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := readLog(b, size)
			b.ReportAllocs()
			lsn := wal.LSN(1)
			for b.Loop() {
				if _, err := l.Get(lsn); err != nil {
					b.Fatal(err)
				}
				lsn = (lsn+6007)%benchRecords + 1
			}
		})
	}
}
