//go:build linux

package powerloss

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// An epoch ends at any flush, also at one that another file has caused: the journal that it
// brings to the disk may name what a program has not synced yet. So in half of the lives an
// unrelated file of the same filesystem is created and synced at moments that the seed
// chooses; in the others nobody flushes but the workload, since what is flushed by chance hides
// that a program forgets to. In some lives the filesystem's own commit comes after the workload.

// beside is what goes on beside a workload.
type beside struct {
	options string // of the mount: the filesystem commits soon
	wait    time.Duration
	pause   time.Duration // between two syncs of an unrelated file, about; 0: there are none
	synced  int64
}

// Commits come each second where the filesystem can be told so; the default is 5 s on ext4 and
// 30 s on btrfs. xfs has no option for it.
const (
	soon      = "commit=1"
	afterSoon = 1200 * time.Millisecond
)

// beside chooses what goes on beside a life.
func (l *lab) beside(rng *rand.Rand) *beside {
	b := &beside{}
	n := rng.IntN(8)
	if !l.o.NoBystander && n%2 == 0 {
		// From one each millisecond to five a second.
		b.pause = time.Duration(float64(time.Millisecond) * math.Pow(200, rng.Float64()))
	}
	if n >= 6 && l.fs.CommitSoon {
		b.options, b.wait = soon, afterSoon
	}
	return b
}

// start begins what goes on beside a workload, and returns what ends it.
func (b *beside) start(d *blockdev.Disk, rng *rand.Rand) (stop func() error) {
	if b.pause == 0 {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	dir := filepath.Join(d.Path(), bystanderName)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-time.After(time.Duration(rng.Int64N(int64(2 * b.pause)))):
			}
			err := syncNew(filepath.Join(dir, strconv.Itoa(n%bystanders)))
			if err != nil && !errors.Is(err, unix.ENOSPC) { // what the workload may have filled
				done <- err
				return
			}
			b.synced++
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}

// bystanders is how many unrelated files there are at most.
const bystanders = 16

// syncNew creates a file and syncs it. An older one goes before.
func syncNew(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString("an unrelated file")
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// end waits for the filesystem's own commit, where it comes soon.
func (b *beside) end(ctx context.Context) {
	if b.wait > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(b.wait):
		}
	}
}
