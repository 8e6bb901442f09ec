//go:build linux

package truncate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// other is what a reader tells of bytes that nobody appended.
type other struct {
	Who  string  `json:"who"`
	LSN  wal.LSN `json:"lsn"`
	When int64   `json:"when"` // a reading of clock
	Lent bool    `json:"lent"` // it was looked at where it lies
}

// follower reads what others append, until its context ends or a read fails.
type follower struct {
	ctx  context.Context //nolint:containedctx // it lives as long as the follower
	tell func(word string, v any)
	who  string
	lent bool
}

// follow follows the log through readers. Where a record was cut away it begins at the
// first one again.
func (f *follower) follow(from func(wal.LSN) *wal.Reader) {
	for {
		r := from(0)
		for r.Follow(f.ctx) {
			f.see(r)
		}
		err := r.Err()
		_ = r.Close() // it has been asked for its error
		if f.ctx.Err() != nil || errors.Is(err, wal.ErrClosed) {
			return
		}
		if !errors.Is(err, wal.ErrTruncated) {
			f.tell("reader failed", failed{Doing: f.who, When: clock(), Text: oneLine(err)})
			return
		}
	}
}

// see checks the record of a reader. One that is lent may be taken away while it is
// looked at: that is an error for who has it, and kills nobody.
func (f *follower) see(r *wal.Reader) {
	ok, lsn := false, r.LSN()
	err := durability.Guard(func() error {
		_, ok = genOf(lsn, r.Record())
		return nil
	})
	if err == nil && !ok {
		f.tell("other bytes", other{Who: f.who, LSN: lsn, When: clock(), Lent: f.lent})
	}
}

// beFollower follows the log from another process until the lab says so, and then checks
// what is there.
func beFollower(args *childArgs, in io.Reader) error {
	tell := teller()
	ch := &changer{plan: args.Plan, dir: args.Dir, me: byFollower, tell: tell}
	o, err := wal.OpenReader(args.Dir)
	if err != nil { // of a log that nobody has changed yet
		tell("failed", failed{Doing: "OpenReader", When: clock(), Text: oneLine(err)})
		return nil
	}
	remove := durabilitytest.InjectDir(args.Dir, ch.hook)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var readers sync.WaitGroup
	for _, lent := range []bool{false, true} {
		readers.Go(func() {
			f := &follower{ctx: ctx, tell: tell, who: "a follower", lent: lent}
			f.follow(func(from wal.LSN) *wal.Reader {
				if lent {
					return o.Reader(from).ZeroCopy()
				}
				return o.Reader(from)
			})
		})
	}
	tell("following", nil)
	ch.begin()
	lines := bufio.NewReader(in)
	if _, err = lines.ReadString('\n'); err != nil { // the lab gives it up
		return err
	}
	ch.finally()
	stop()
	readers.Wait()
	if err = o.Close(); err != nil {
		tell("reader failed", failed{Doing: "Close of a reader", When: clock(), Text: oneLine(err)})
	}
	remove()
	return nil
}
