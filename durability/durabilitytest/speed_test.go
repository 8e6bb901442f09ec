package durabilitytest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// largeTrace records about 20,000 events: records of 100 bytes appended through
// a mapping to four files of 1 MiB, with an msync for every second one and an
// fsync for every hundredth.
func largeTrace() *trace {
	const files, size = 4, 1 << 20
	tr := newTrace()
	for file := range uint64(files) {
		tr.create(file+1, string(rune('a'+file)))
		tr.allocate(file+1, size)
		for off := 0; off < size; off += 64 << 10 {
			tr.write(file+1, off, make([]byte, 64<<10))
		}
		tr.sync(file + 1)
	}
	tr.syncDir()
	record := make([]byte, 100)
	for i := 0; tr.Len() < 20_000; i++ {
		file, off := uint64(i/2500%files)+1, i%2500*(size/2500)
		for j := range record {
			record[j] = byte(i + j)
		}
		tr.store(file, off, record)
		if i%2 == 0 {
			tr.msync(file, off&^4095, 4096)
		}
		if i%100 == 0 {
			tr.sync(file)
		}
	}
	return tr
}

func BenchmarkIndex(b *testing.B) {
	events := largeTrace().Events()
	for b.Loop() {
		r := durabilitytest.NewRecorder()
		for _, e := range events {
			r.Trace(e)
		}
		r.CrashAs(durabilitytest.Drop, "/nowhere", len(events), nil)
	}
	b.ReportMetric(float64(len(events)), "events/op")
}

func BenchmarkCrash(b *testing.B) {
	tr := largeTrace()
	rng := rand.New(rand.NewPCG(1, 3))
	i := 0
	for b.Loop() {
		tr.Crash(dir, i%(tr.Len()+1), rng)
		i += 7
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/state")
}
