package durability_test

import (
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/durability"
)

// BenchmarkStore shows what the guard costs over the bare copy, which dies of
// SIGBUS: the difference of the two rows of each size.
func BenchmarkStore(b *testing.B) {
	const size = 1 << 20
	m := newMapping(b, size)
	head := make([]byte, 24)
	for _, n := range []int{100, 1024} {
		data := make([]byte, n)
		step := int64(n + len(head))
		b.Run(fmt.Sprintf("bare/%d", n), func(b *testing.B) {
			bare, off := m.Bytes(), int64(0)
			b.SetBytes(step)
			for b.Loop() {
				dst := bare[off : off+step]
				copy(dst, head)
				copy(dst[len(head):], data)
				if off += step; off > size-step {
					off = 0
				}
			}
		})
		b.Run(fmt.Sprintf("Store/%d", n), func(b *testing.B) {
			off := int64(0)
			b.SetBytes(step)
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Store(off, head, data); err != nil {
					b.Fatal(err)
				}
				if off += step; off > size-step {
					off = 0
				}
			}
		})
	}
}

// BenchmarkWord is the same for single numbers.
func BenchmarkWord(b *testing.B) {
	m := newMapping(b, 1<<16)
	b.Run("StoreUint64", func(b *testing.B) {
		for b.Loop() {
			if err := m.StoreUint64(64, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("LoadUint32", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.LoadUint32(64); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCheck is what File.Check adds to a commit.
func BenchmarkCheck(b *testing.B) {
	m := newMapping(b, 1<<20)
	e, err := m.File().Expect()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := m.File().Check(e); err != nil {
			b.Fatal(err)
		}
	}
}

// newMapping returns a writable mapping of a new file that is filled with zeros.
func newMapping(t testing.TB, size int64) *durability.Mapping {
	t.Helper()
	return mapFile(t, newFile(t, newDir(t, nil), "mapped", size), size)
}
