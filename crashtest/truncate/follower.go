//go:build linux

package truncate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

	get func(wal.LSN) ([]byte, error) // asked for some of the records, if set
}

// follow follows the log through readers. Where a record was cut away it begins at the
// first one again.
func (f *follower) follow(from func(wal.LSN) *wal.Reader) {
	for {
		r := from(0)
		for last := wal.LSN(0); r.Follow(f.ctx); last = r.LSN() {
			if last != 0 && r.LSN() != last+1 {
				f.tell("other bytes", other{Who: f.who + fmt.Sprintf(", behind record %d,", last), LSN: r.LSN(), When: clock()})
			}
			f.see(r)
			if f.get != nil && r.LSN()%8 == 0 {
				f.look(r.LSN())
			}
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

// look gets a record by its LSN. It may be cut away at the same time.
func (f *follower) look(lsn wal.LSN) {
	p, err := f.get(lsn)
	switch _, ok := genOf(lsn, p); {
	case err == nil && !ok:
		f.tell("other bytes", other{Who: "Get in " + f.who, LSN: lsn, When: clock()})
	case err != nil && !errors.Is(err, wal.ErrNotFound) && !errors.Is(err, wal.ErrTruncated) && !errors.Is(err, wal.ErrClosed):
		f.tell("reader failed", failed{Doing: "Get in " + f.who, When: clock(), Text: oneLine(err)})
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
	for _, durable := range []bool{false, true} {
		readers.Go(func() {
			f := &follower{ctx: ctx, tell: tell, who: "a follower", get: o.Get}
			f.follow(func(from wal.LSN) *wal.Reader {
				if durable {
					return o.Reader(from).Durable()
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
