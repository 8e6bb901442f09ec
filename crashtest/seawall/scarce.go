//go:build linux

package seawall

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// shortage is a resource that the machine has none of for a while.
type shortage struct {
	name  string
	ops   []durability.Op // that fail
	errno syscall.Errno   // with this
}

// shortages are those of which lives of pairs have each call come in each. The kernel is not
// asked then: the answer is the one that it would give.
var shortages = []shortage{
	{"descriptors", []durability.Op{durabilitytest.OpOpen, durability.OpCreate, durabilitytest.OpReadDirect}, syscall.EMFILE},
	{"memory", []durability.Op{durabilitytest.OpMap, durabilitytest.OpPopulate}, syscall.ENOMEM},
	{"space", []durability.Op{durability.OpCreate, durability.OpWrite, durability.OpAllocate, durability.OpRename}, syscall.ENOSPC},
}

// opening is a call in a shortage that is none of a log.
const opening = "open"

// scarceCalls are what is done in a shortage.
func scarceCalls() []string { return append(slices.Clone(secondCalls), opening) }

func scarceName(call string, s *shortage) string { return call + " without " + s.name }

// bit is what a life counts when a call has failed by the shortage.
func (s *shortage) bit() string { return "failed without " + s.name }

// begin has operations in the life's directory fail, after a few that do not, until end is
// called.
func (s *shortage) begin(w *work) (end func()) {
	var left atomic.Int64
	left.Store(int64(w.rng.IntN(3)))
	return durabilitytest.InjectDir(w.life.Dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && slices.Contains(s.ops, c.Op) && left.Add(-1) < 0 {
			return s.errno
		}
		return nil
	})
}

// explains reports whether an error says what there is none of.
func (s *shortage) explains(err error) bool {
	return errors.Is(err, s.errno) || s.errno == syscall.ENOSPC && errors.Is(err, wal.ErrNoSpace)
}

// scarce makes a call in a shortage. It may fail, and say why; nothing that was acknowledged
// is lost by that, and when there is enough again the log goes on, or is poisoned and goes on
// when it is opened.
func (w *work) scarce(s *shortage, name string) error {
	what := scarceName(name, s)
	w.doing(what)
	w.did[what]++
	if err := w.beforeCalls(name == "rotation" || w.rng.IntN(2) == 0); err != nil {
		return err
	}
	err := w.inShortage(s, name)
	if err == nil {
		return nil
	}
	return prefixed(what, err)
}

// mostRotations is how many large records are appended at most until none can be: they take
// all segments that are ready, or are so in a moment.
const mostRotations = inEmpty * (wal.MaxSegmentsAhead + 2)

func (w *work) inShortage(s *shortage, name string) error {
	if name == opening {
		return w.openInShortage(s)
	}
	end := s.begin(w)
	defer end()
	var m *meeting
	var err error
	for n := 1; err == nil; n++ {
		m = &meeting{w: w}
		m.calls[0] = w.callOf(name, m)
		m.begin(0)
		var lsn wal.LSN
		if lsn, err = m.calls[0].do(); err == nil || !s.explains(err) {
			if err = m.end(0, lsn, err); err != nil {
				return err
			}
			if name != "rotation" || n == mostRotations {
				end()
				return m.resolve()
			}
			if err = m.resolve(); err != nil {
				return err
			}
		}
	}
	end()
	w.did[s.bit()]++
	m.failed(0)
	again, err := m.goesOn(s, name == "close")
	if err != nil {
		return err
	}
	if again {
		return m.resolve()
	}
	_ = w.log.Close() // its error is the one that is known
	return w.reopen()
}

// goesOn reports whether the log goes on after a shortage. A sync makes all that was appended
// durable then, or the log is poisoned. The first one may still tell what an attempt in the
// shortage came to, the next one has no reason to.
func (m *meeting) goesOn(s *shortage, closing bool) (bool, error) {
	for n := range 2 {
		err := m.w.log.Sync()
		switch {
		case err == nil:
			m.w.set(func(m *Mark) {
				worlds := chain(m.worlds())
				for one := worlds; one != nil; one = one.alt {
					one.made(one.appended)
				}
				*m = *worlds
			})
		case errors.Is(err, wal.ErrPoisoned), closing && errors.Is(err, wal.ErrClosed):
			return false, nil
		case n > 0 || !s.explains(err):
			return false, broken("sync when there is enough again", err)
		}
	}
	return true, nil
}

// failed notes that a call has failed half-way: it may have happened or not. Records whose
// append failed are not in the log, and will not be, but for those that it could not sync.
func (m *meeting) failed(i int) {
	c := m.calls[i]
	m.w.note(func(now *Mark) *Mark {
		var left []*Mark
		for _, one := range now.worlds() {
			if !one.calls[i].happened || !c.appends || c.synced {
				left = append(left, one)
			}
		}
		return chain(left)
	})
}

// openInShortage closes the log, and opens it in a shortage, which may fail; and then opens it
// when there is enough.
func (w *work) openInShortage(s *shortage) error {
	if err := w.sync(w.log.Close(), "close"); err != nil {
		return err
	}
	end := s.begin(w)
	l, err := w.subject.open(w.dir(), w.opts)
	end()
	switch {
	case err == nil:
		if err = l.Close(); err != nil {
			return broken("close", err)
		}
	case !s.explains(err):
		return misjudged("open", err)
	default:
		w.did[s.bit()]++
	}
	return w.reopen()
}

// prefixed returns an error with what was done before its words. What is no finding, as that
// the machine lacks something, stays none.
func prefixed(what string, err error) error {
	var found *campaign.Broken
	if !errors.As(err, &found) {
		return fmt.Errorf("%s: %w", what, err)
	}
	b := *found
	b.What = fmt.Sprintf("%s: %s", what, b.What)
	return &b
}
