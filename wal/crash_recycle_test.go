package wal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// recycling is a life in which a segment before the front is used again, and
// records are appended to it, while no name becomes durable: up to the event at
// which it has its final name. from is the event with which it got the first of its
// new names.
func recycling(t *testing.T, reset bool) (f *life, from, to int) {
	t.Helper()
	f = newLife(t, withMin(wal.Options{SegmentsAhead: 1}), newRand(newSeed(t)))
	f.open()
	f.fill(14, 9000)
	f.sync()
	f.ready()
	held := make(chan struct{})
	remove := durabilitytest.InjectDir(f.root, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Op == durability.OpRename && strings.HasSuffix(c.NewName, ".wal") {
			<-held
		}
		return nil
	})
	defer remove()
	from = f.rec.Len()
	recycled := f.log.Stats().Recycled
	if reset {
		f.reset(5)
	} else {
		f.truncateFront(14)
	}
	for f.log.Stats().Recycled == recycled { // enters what was ready, and then that
		f.append(9000)
	}
	f.append(40000)
	f.append(9000)
	close(held)
	f.sync()
	to = f.rec.Len()
	f.stop()
	for e := f.event(from); e.Op != durability.OpRename || !strings.HasSuffix(e.NewName, ".tmp"); e = f.event(from) {
		from++
	}
	return f, from, to
}

// TestCrashWhileASegmentIsUsedAgain loses power between when a segment is used
// again and when it has its final name, also with all kept but its renaming. The
// log is whole, and no file has a segment's name and the header of another one, or
// none: under a final name that is damage, and only the front, if nothing else is
// harmed, says that it is not this time.
func TestCrashWhileASegmentIsUsedAgain(t *testing.T) {
	for name, reset := range map[string]bool{"front cut": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, from, to := recycling(t, reset)
			or := newOracle(t, f.opts)
			for at := from; at <= to; at += f.step() {
				for choice := range 4 { // names, while they are not durable
					wantOwnHeaders(t, f.rec.Crash(f.root, at, &durabilitytest.HoldBack{Index: choice}), f.describe(at))
				}
				f.crashes(at, 0, func(c crash) { or.check(c) })
			}
			or.report("used again")
		})
	}
}

// wantOwnHeaders checks that each file with a segment's final name has its header.
func wantOwnHeaders(t *testing.T, state durabilitytest.Files, words string) {
	t.Helper()
	for name, data := range state {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		h, err := frame.DecodeHeader(data)
		if want := fmt.Sprintf("%s/%016x.wal", logName, h.Ordinal); err != nil || name != want {
			t.Fatalf("the header of %s: %+v, %v\n%s", name, h, err, words)
		}
	}
}
