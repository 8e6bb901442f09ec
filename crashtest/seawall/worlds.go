//go:build linux

package seawall

import (
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/wal"
)

// While two calls are in progress, the log may be what it was, or what one of them makes of
// it, or both in either order: the worlds. Each world is a Mark, and the worlds of one
// moment follow each other by alt. When a call returns, the worlds in which it had not
// happened, or had another result, are over. Where none is left, the log has broken its
// word: no order of the two calls explains what they returned. (This is the check of
// linearizability, of two calls, with what a crash may leave of them as a further witness.)

// call is one of two calls in progress, with its arguments.
type call struct {
	name string

	// do makes the call. It returns the LSN that the log gave, if it gives one.
	do func() (wal.LSN, error)

	// effect makes of a world, which is a copy, what the call makes of the log, as if it
	// happened in one moment; or returns the error with which the log refuses it.
	effect func(m *Mark) (wal.LSN, error)

	// appends says that the LSN is that of records, which a kill must leave from the
	// call's return on.
	appends bool
	synced  bool // and power loss, too

	// closed says that a log that is closed does not refuse it.
	closed bool

	// begin notes what the call may rely on when it begins, before effect is asked.
	begin func(m *Mark)
}

// outcome is what has become of a call in one world.
type outcome struct {
	happened bool
	lsn      wal.LSN
	refused  error
}

// worlds returns all that the log may be.
func (m *Mark) worlds() (all []*Mark) {
	for ; m != nil; m = m.alt {
		all = append(all, m)
	}
	return all
}

// chain returns worlds as one Mark. They are copied.
func chain(worlds []*Mark) *Mark {
	var next *Mark
	for i := len(worlds) - 1; i >= 0; i-- {
		m := *worlds[i]
		m.alt, next = next, &m
	}
	return next
}

// after returns the world in which a call has happened.
func (m *Mark) after(i int, c *call) *Mark {
	n := *m
	lsn, err := wal.LSN(0), error(nil)
	if m.closed && !c.closed {
		err = wal.ErrClosed
	} else {
		lsn, err = c.effect(&n)
	}
	n.calls[i] = outcome{happened: true, lsn: lsn, refused: err}
	return &n
}

// unfold returns the worlds that calls in progress may lead to, the given ones first.
func unfold(worlds []*Mark, calls [2]*call) []*Mark {
	for at := 0; at < len(worlds); at++ {
		for i, c := range calls {
			if c != nil && !worlds[at].calls[i].happened {
				worlds = append(worlds, worlds[at].after(i, c))
			}
		}
	}
	return worlds
}

// narrow returns the worlds in which a call has happened as it says.
func narrow(worlds []*Mark, i int, c *call, lsn wal.LSN, err error) ([]*Mark, error) {
	var left []*Mark
	for _, m := range worlds {
		o := m.calls[i]
		switch {
		case !o.happened || (o.refused == nil) != (err == nil) || !errors.Is(err, o.refused) || o.lsn != lsn:
			continue
		case c.appends && err == nil:
			n := *m
			n.appended = max(n.appended, min(lsn, n.begun)) // unless the other call has cut it away
			if c.synced {
				n.made(lsn)
			}
			m = &n
		}
		left = append(left, m)
	}
	switch {
	case len(left) == 0 && err != nil:
		return nil, broken(c.name, err)
	case len(left) == 0:
		return nil, illegal("%s returned %d: no order of the calls in progress explains that", c.name, lsn)
	}
	// What a call was told of the other one, which is in progress, does not mean that a crash
	// cannot undo that one: only its own return does. A record that was appended behind it
	// survives the process's death, and so it has to, too; not so power loss.
	pending := func(m *Mark) bool { return !m.calls[1-i].happened }
	if first := worlds[0]; pending(first) && !slices.ContainsFunc(left, pending) && (err != nil || !c.synced) {
		n := *first // in which neither has happened
		n.unseen = err == nil
		left = append(left, &n)
	}
	return left, nil
}

// settleOn returns the world that the log shows by its first and its last LSN. Where several
// worlds do, none of them is known to be wrong: they differ in what is durable, and the
// one that asks least is returned.
func settleOn(worlds []*Mark, first, last wal.LSN) (*Mark, error) {
	var one *Mark
	for _, m := range worlds {
		if m.front == first && m.begun == last && (one == nil || m.durable < one.durable) {
			one = m
		}
	}
	if one == nil {
		return nil, illegal("the log has records %d to %d: no order of the calls that have returned explains that", first, last)
	}
	n := *one
	n.over()
	return &n, nil
}

// over notes in a copy that no call is in progress any more.
func (m *Mark) over() {
	m.alt, m.altGrows, m.calls, m.closed, m.reused, m.during = nil, false, [2]outcome{}, false, false, ""
}

// made notes in a copy that a call made records durable up to one of them, as far as the
// log holds it.
func (m *Mark) made(durable wal.LSN) { m.durable = max(m.durable, min(durable, m.begun)) }

// acknowledge notes that the log has named an LSN durable, whichever world it is. Where a cut
// has happened, it may have named it before, and another record may have the LSN.
func (w *work) acknowledge(lsn wal.LSN) {
	w.note(func(m *Mark) *Mark {
		worlds := chain(m.worlds())
		for n := worlds; n != nil; n = n.alt {
			if !n.reused {
				n.made(lsn)
			}
		}
		return worlds
	})
}
