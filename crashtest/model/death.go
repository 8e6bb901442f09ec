//go:build linux

package model

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// death is the death of a process, as the life that follows it inherits it: the
// files hold all that was stored, and what of it was not synced may be lost still
// when the power fails in that life.
type death struct {
	of       *recording
	at, torn int
}

// inherit has a recorder know what a dead process did: its files are in root now,
// and none of it is more durable than it was.
func (d *death) inherit(rec *durabilitytest.Recorder, root string) error {
	if err := rec.BaseFiles(root, d.of.base); err != nil {
		return err
	}
	for _, e := range done(d.of.events[:d.at], d.torn) {
		if below, ok := strings.CutPrefix(e.Dir, d.of.root); ok {
			e.Dir = filepath.Join(root, below)
		}
		rec.Trace(e)
	}
	return nil
}

// done returns what had happened of the events when the process died, the last
// store or write of which got so far: an operation that was under way has not
// happened.
func done(events []durability.Event, torn int) []durability.Event {
	open := map[uint64]bool{}
	for i := range events {
		switch e := &events[i]; {
		case e.Op == durability.OpStore:
		case e.Phase == durability.Before:
			open[e.ID] = true
		default:
			delete(open, e.ID)
		}
	}
	list := make([]durability.Event, 0, len(events)+1)
	for i := range events {
		e := events[i]
		last := i == len(events)-1
		switch {
		case e.Op == durability.OpStore && last:
			list = append(list, partly(e, torn)...)
		case e.Op == durability.OpStore || !open[e.ID]:
			list = append(list, e)
		case e.Op == durability.OpWrite && last:
			for _, began := range partly(e, torn) {
				ended := began
				ended.Phase, ended.Data, ended.Data2 = durability.After, nil, nil
				list = append(list, began, ended)
			}
		}
	}
	return list
}

// partly returns a store or a write of which so many bytes were done; none, where
// none were.
func partly(e durability.Event, torn int) []durability.Event {
	whole := max(e.Length, int64(len(e.Data)+len(e.Data2)))
	if int64(torn) >= whole {
		return []durability.Event{e}
	}
	if torn <= 0 {
		return nil
	}
	e.Length = int64(torn)
	e.Data = slices.Clip(e.Data[:min(torn, len(e.Data))])
	e.Data2 = slices.Clip(e.Data2[:min(max(torn-len(e.Data), 0), len(e.Data2))])
	return []durability.Event{e}
}

// deaths returns of how many processes in a row, up to the beginning of a life
// with that path, what was not synced may be lost still.
func deaths(path []step) (n int) {
	for n < len(path) && path[len(path)-1-n].Cache {
		n++
	}
	return n
}

// dieAt lets the process die after so many events, with its last store torn or not,
// and another one live on from that, of which few states are checked where it is quick.
func (e *explorer) dieAt(at int, quick bool) error {
	if e.nest == nil {
		return nil
	}
	e.enter(at)
	torn := wholeStore
	if last := e.last(); last != nil && e.rng.IntN(4) == 0 {
		if n := len(last.Data) + len(last.Data2); n > 1 {
			torn = 1 + e.rng.IntN(n-1)
		}
	}
	return e.nest(&state{
		e: e, class: e.classOf(prefixes, true), files: e.r.rec.Killed(e.r.root, e.at, torn), killed: true, torn: torn, quick: quick,
	})
}
