//go:build linux

package seawall

import (
	"context"
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal"
)

// callOf returns a call with its arguments, which are chosen by what is known now.
func (w *work) callOf(name string, meet *meeting) *call {
	now := w.mark()
	covers := func(name string, do func() error) *call { // covers what was appended when it begins
		var before wal.LSN
		return &call{
			name: name, do: none(do), begin: func(m *Mark) { before = m.appended },
			effect: func(m *Mark) (wal.LSN, error) { m.made(before); return 0, nil },
		}
	}
	switch name {
	case "append":
		return w.appendCall(w.size())
	case "rotation":
		return w.appendCall(large)
	case "batch":
		return w.appendCall(w.size(), w.size(), w.size())
	case "sync":
		return covers(name, w.log.Sync)
	case "checkpoint":
		return covers(name, w.log.Checkpoint)
	case "commit":
		lsn := now.appended
		return &call{
			name: fmt.Sprintf("commit of record %d", lsn), closed: true,
			do: none(func() error { return w.log.Commit(context.Background(), lsn) }),
			effect: func(m *Mark) (wal.LSN, error) {
				if lsn > m.begun {
					return 0, wal.ErrNotFound
				}
				m.made(lsn) // a closed log answers, too: its records are durable
				return 0, nil
			},
		}
	case "front cut":
		return w.frontCall(now)
	case "back cut":
		return w.backCall(now)
	case "reset":
		next := now.appended + 1 + wal.LSN(w.rng.IntN(3)*w.rng.IntN(1000))
		return &call{
			name: fmt.Sprintf("reset to %d", next), do: none(func() error { return w.log.Reset(next) }),
			effect: func(m *Mark) (wal.LSN, error) {
				empty := emptyMark(next)
				empty.alt, empty.calls, empty.reused = m.alt, m.calls, true
				*m = empty
				return 0, nil
			},
		}
	case "close":
		return &call{name: name, do: none(w.log.Close), effect: func(m *Mark) (wal.LSN, error) {
			m.made(m.appended)
			m.closed = true
			return 0, nil
		}}
	case "read", "lend":
		return w.readCall(name == "lend", meet)
	}
	return nil
}

// none has a call return no LSN.
func none(do func() error) func() (wal.LSN, error) {
	return func() (wal.LSN, error) { return 0, do() }
}

// appendCall appends records, several as a batch.
func (w *work) appendCall(sizes ...int) *call {
	var ps [][]byte
	var runs []run
	for _, n := range sizes {
		// What it holds has to be known before its LSN is. The sum is all that is compared.
		p, fresh := w.payload(wal.LSN(w.rng.Uint64()|1<<63), n)
		ps, runs = append(ps, p), append(runs, fresh...)
	}
	n := wal.LSN(len(ps))
	return &call{
		name: fmt.Sprintf("append of %d records", n), appends: true, synced: w.opts.Sync == wal.SyncEach,
		do: func() (wal.LSN, error) {
			if n == 1 {
				return w.to.Append(ps[0])
			}
			return w.to.AppendBatch(ps)
		},
		effect: func(m *Mark) (wal.LSN, error) {
			here := slices.Clone(runs)
			for i := range here {
				here[i].from = m.begun + 1 + wal.LSN(i)
			}
			next := m.begin(n, here)
			*m = *next
			return m.begun, nil
		},
	}
}

// frontCall cuts some of the first records away, or all.
func (w *work) frontCall(now *Mark) *call {
	lsn := now.front + wal.LSN(w.rng.Uint64N(uint64(now.appended-now.front+2)))
	var before wal.LSN
	return &call{
		name: fmt.Sprintf("truncate the front to %d", lsn),
		do:   none(func() error { return w.log.TruncateFront(lsn) }), begin: func(m *Mark) { before = m.appended },
		effect: func(m *Mark) (wal.LSN, error) {
			if lsn > m.begun+1 {
				return 0, wal.ErrNotFound
			}
			if lsn > m.front {
				m.front = lsn
				m.durable = max(m.durable, lsn-1)
				m.made(before)
			}
			return 0, nil
		},
	}
}

// backCall cuts some of the last records away, or all.
func (w *work) backCall(now *Mark) *call {
	lsn := now.appended - wal.LSN(w.rng.Uint64N(uint64(min(now.appended-now.front+1, 6)+1)))
	return &call{
		name: fmt.Sprintf("truncate the back to %d", lsn),
		do:   none(func() error { return w.log.TruncateBack(lsn) }),
		effect: func(m *Mark) (wal.LSN, error) {
			switch {
			case lsn > m.begun:
				return 0, wal.ErrNotFound
			case lsn+1 < m.front:
				return 0, wal.ErrTruncated
			}
			m.end(lsn)
			m.reused = true
			return 0, nil
		},
	}
}
