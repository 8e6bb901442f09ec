//go:build linux

package kill

import (
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
	"github.com/seawall-wal/seawall/durability"
)

// Weakener leaves out calls that a program makes to have something durable: they succeed, and
// nothing is done. It stops the program at each such call, so that it holds for any program, be
// it linked statically; but for what is written through a descriptor that was opened with O_SYNC
// or O_DSYNC, and for io_uring and Linux AIO, which fail with ENOSYS while it is at work.
//
// It may be used by several programs at once.
type Weakener struct {
	Mutations campaign.Mutations

	seen    atomic.Int64
	skipped atomic.Int64
}

// Skipped returns how many calls were left out.
func (w *Weakener) Skipped() int64 { return w.skipped.Load() }

// weakened are the calls that a Weakener looks at.
var weakened = []intercept.Op{intercept.Sync, intercept.Msync, intercept.SyncAll, intercept.Ring}

// Start is a Starter.
func (w *Weakener) Start(cmd *exec.Cmd) (end func() error, err error) {
	watch, err := intercept.Start(cmd, weakened, func(c *intercept.Call) intercept.Answer {
		if c.Op == intercept.Ring {
			return intercept.Answer{Skip: true, Errno: unix.ENOSYS}
		}
		return intercept.Answer{Skip: w.Skips(c)}
	})
	if err != nil {
		return nil, err
	}
	return watch.Close, nil
}

// Skips reports whether a call is left out.
func (w *Weakener) Skips(c *intercept.Call) bool {
	var op durability.Op
	switch c.Op {
	case intercept.Msync:
		if c.Args[2]&unix.MS_SYNC == 0 {
			return false // it asks for nothing
		}
		op = durability.OpMsync
	case intercept.SyncAll:
		op = durability.OpSync
	case intercept.Sync:
		op = durability.OpSync
		info, err := os.Stat("/proc/" + strconv.Itoa(c.Thread) + "/fd/" + strconv.Itoa(c.Descriptor(0)))
		if err == nil && info.IsDir() {
			op = durability.OpSyncDir
		}
	default:
		return false
	}
	if !w.Mutations.Skips(op, int(w.seen.Add(1))) {
		return false
	}
	w.skipped.Add(1)
	return true
}
