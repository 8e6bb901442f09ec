package wal_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// TestDiskBytes touches and releases parts of a file in any order: what was touched
// and not released since is what the file holds.
func TestDiskBytes(t *testing.T) {
	t.Parallel()
	const unit, units = 64 << 10, 96
	rng := rand.New(rand.NewPCG(3, 4))
	want := make([]byte, units*unit)
	for i := range want {
		want[i] = byte(rng.Uint32()) | 1
	}
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "file"), want, 0o600))
	d, err := durability.OpenDir(root, nil)
	must(t, err)
	defer d.Close()
	b, closeIt, err := wal.DiskBytes(d, "file")
	must(t, err)
	defer func() { must(t, closeIt()) }()
	for range 6 {
		data, err := b.Load()
		must(t, err)
		readable := [units]bool{}
		for range 60 {
			from := rng.IntN(units)
			to := min(units, from+1+rng.IntN(20))
			touch := rng.IntN(3) > 0
			if touch {
				must(t, b.Touch(int64(from)*unit, int64(to)*unit))
			} else {
				b.Release(int64(from)*unit, int64(to)*unit)
			}
			for i := from; i < to; i++ {
				readable[i] = touch
			}
			for i, is := range readable {
				if is && !bytes.Equal(data[i*unit:(i+1)*unit], want[i*unit:(i+1)*unit]) {
					t.Fatalf("bytes %d to %d of %d are not what the file holds", i*unit, (i+1)*unit, len(data))
				}
			}
		}
		b.Unload()
	}
}
