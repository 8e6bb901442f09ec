//go:build linux

package powerloss

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// seen are the contents that were checked.
type seen struct {
	mu       sync.Mutex
	verdicts map[uint64]campaign.Found // nil: it is being checked, or was refused
	judged   map[judged]int            // the most acknowledgements, of those that the check itself asks for
}

// judged is a content in a life.
type judged struct {
	key  uint64
	life *life
}

// times are what checks were spent on.
type times struct {
	Fork, Mount, Check, Unmount time.Duration
	N                           int64
}

// check judges a state on a disk, and reports whether its content is new.
func (l *lab) check(d *blockdev.Disk, s *state) (broken *campaign.Broken, fresh bool, err error) {
	asks := l.asksAcks(s)
	l.seen.mu.Lock()
	v, known := l.seen.verdicts[s.key]
	if !known {
		l.seen.verdicts[s.key] = nil // some other disk need not do the same
	}
	if asks {
		j := judged{s.key, s.life}
		if n, was := l.seen.judged[j]; was && n >= s.most() {
			l.seen.mu.Unlock()
			return nil, false, nil
		}
		l.seen.judged[j] = s.most()
	}
	l.seen.mu.Unlock()
	switch {
	case known && !asks && v == nil: // it is being checked, or was refused
		return nil, false, nil
	case known && !asks:
		return judge(v, s, l.marks.isNew), false, nil
	}
	s.brokenBy = s.most()
	c, err := l.mounted(d, s.view(), func(f campaign.Found) *campaign.Broken { return judge(f, s, l.marks.isNew) })
	if err != nil {
		return nil, !known, err
	}
	s.life.sawReads(s.epoch, c.read)
	if c.refused == nil && !asks {
		l.seen.mu.Lock()
		l.seen.verdicts[s.key] = c.found
		l.seen.mu.Unlock()
	}
	return c.broken, !known, nil
}

// asksAcks reports whether what is known are acknowledgements alone: then it is
// the check that is told of them, and that looks at the files.
func (l *lab) asksAcks(s *state) bool {
	_, ok := s.life.known(s.most()).(campaign.Acks)
	return ok || l.o.isProgram()
}

// mounted mounts what a cut has left, has the subject recover it, and judges that while it is
// there. It tells which blocks of the disk were read for it.
func (l *lab) mounted(d *blockdev.Disk, view blockdev.View, judge func(campaign.Found) *campaign.Broken) (c checked, err error) {
	var t times
	began := time.Now()
	lap := func(to *time.Duration) {
		now := time.Now()
		*to, began = now.Sub(began), now
	}
	if err = d.Fork(view); err != nil {
		return c, err
	}
	lap(&t.Fork)
	if err = l.fs.mount(d); err != nil {
		if !isRefusal(err) {
			return c, err
		}
		c.broken = &campaign.Broken{Kind: Refused, What: err.Error()}
		c.refused = c.broken
		return c, nil
	}
	lap(&t.Mount)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Discard())
		}
	}()
	found, err := l.subject.Recover(subjectDir(d))
	if err != nil {
		c.refused = campaign.AsBroken(err, campaign.Misjudged)
		c.broken = c.refused
	} else {
		c.found, c.broken = found, judge(found)
	}
	if l.run.Context().Err() != nil && l.o.isProgram() {
		c.broken = nil // its check was ended
	} else if err = kill.CheckError(c.found); err != nil {
		return c, err
	}
	lap(&t.Check)
	touched, err := d.Touched()
	if err != nil {
		return c, err
	}
	c.read = touched.Read
	if err = d.Discard(); err != nil {
		return c, err
	}
	lap(&t.Unmount)
	l.spent(&t)
	return c, nil
}

// checked is what came of a check.
type checked struct {
	found   campaign.Found
	refused *campaign.Broken // the filesystem, or the subject, refuses the state
	broken  *campaign.Broken // the same, or what the oracles say
	read    []int64          // blocks
}

// Refused is the kind of a state that the filesystem itself refuses to mount.
// That is nothing that a program can see to, and no finding: results say in their
// notes how many there were, with the token of the first.
const Refused campaign.Kind = "refused"

// isRefusal reports whether mount failed because of what is on the disk.
func isRefusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EBADMSG, unix.EUCLEAN, unix.EIO, unix.EINVAL, unix.ENOENT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// refused notes a state that the filesystem refuses.
func (l *lab) refused(d *blockdev.Disk, s *state, b *campaign.Broken) error {
	l.mu.Lock()
	l.refusals++
	first := l.refusals == 1
	l.mu.Unlock()
	if !first {
		return nil
	}
	s, b, err := l.shrink(d, s, b)
	if err != nil {
		return err
	}
	f, err := l.tell(d, s, b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusal = &f
	return err
}

// spent adds times.
func (l *lab) spent(t *times) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times.Fork += t.Fork
	l.times.Mount += t.Mount
	l.times.Check += t.Check
	l.times.Unmount += t.Unmount
	l.times.N++
}

// judge asks the oracles for all that was known while the state could be left, and returns what of
// it counts. It notes in the state by what was known it is broken.
func judge(f campaign.Found, s *state, counts func(*campaign.Broken) bool) *campaign.Broken {
	least, most := s.least(), s.most()
	if _, ok := s.life.known(most).(campaign.Acks); ok {
		least = most // a check of fewer acknowledgements asks for less
	}
	for n := most; n >= least; n-- {
		if b := checkEach(f, campaign.After(s.life.known(n), false), counts); b != nil {
			s.brokenBy = n
			return b
		}
	}
	return nil
}

// checkEach asks both oracles, the second one also where the first says what does not count.
func checkEach(f campaign.Found, k campaign.Known, counts func(*campaign.Broken) bool) *campaign.Broken {
	if err := f.Present(k, false); err != nil {
		if b := campaign.AsBroken(err, campaign.Lost); counts(b) {
			return b
		}
	}
	if err := f.Legal(k, false); err != nil {
		if b := campaign.AsBroken(err, campaign.Illegal); counts(b) {
			return b
		}
	}
	return nil
}

// like returns what counts only what is broken in the same way.
func like(b *campaign.Broken) func(*campaign.Broken) bool {
	return func(o *campaign.Broken) bool { return o.Kind == b.Kind && o.Clause == b.Clause }
}

// again checks a state with nothing remembered, for what counts.
func (l *lab) again(d *blockdev.Disk, s *state, counts func(*campaign.Broken) bool) (*campaign.Broken, error) {
	s.brokenBy = s.most()
	c, err := l.mounted(d, s.view(), func(f campaign.Found) *campaign.Broken { return judge(f, s, counts) })
	return c.broken, err
}
