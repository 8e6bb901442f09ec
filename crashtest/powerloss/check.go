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

// seen are the contents that were checked in the states of a life, and of those that went on from
// them. Those of other lives are others.
type seen struct {
	mu     sync.Mutex
	found  map[uint64]*content
	judged map[judged]int // the most acknowledgements, of those that the check itself asks for
}

// content is what came of a content, once done is closed.
type content struct {
	done  chan struct{}
	found campaign.Found // nil: it was refused, or what is found does not outlive its mount
}

// judged is a content in a life.
type judged struct {
	key  uint64
	life *life
}

func newSeen() *seen { return &seen{found: map[uint64]*content{}, judged: map[judged]int{}} }

// times are what checks were spent on.
type times struct {
	Fork, Mount, Check, Unmount time.Duration
	N                           int64
}

// check judges a state on a disk, and reports whether its content is new.
func (l *lab) check(d *blockdev.Disk, s *state) (broken *campaign.Broken, fresh bool, err error) {
	seen, asks := s.life.seen, l.asksAcks(s)
	seen.mu.Lock()
	c, known := seen.found[s.key]
	if !known {
		c = &content{done: make(chan struct{})}
		seen.found[s.key] = c
	}
	if asks {
		j := judged{s.key, s.life}
		n, was := seen.judged[j]
		if was && n >= s.most() {
			seen.mu.Unlock()
			return nil, false, nil
		}
		seen.judged[j] = s.most()
	}
	seen.mu.Unlock()
	if known && !asks {
		<-c.done // another disk may be checking it
		if c.found == nil {
			return nil, false, nil
		}
		return judge(c.found, s, l.marks.isNew), false, nil
	}
	if !known {
		defer close(c.done)
	}
	s.brokenBy = s.most()
	came, err := l.mounted(d, s.view(), func(f campaign.Found) *campaign.Broken { return judge(f, s, l.marks.isNew) })
	if err != nil {
		return nil, !known, err
	}
	s.life.sawReads(s.epoch, came.read)
	if !known && came.refused == nil && !asks {
		c.found = came.found
	}
	return came.broken, !known, nil
}

// asksAcks reports whether what is known are acknowledgements alone, or nothing yet: then it may be
// the check that is told of them, and that looks at the files while they are mounted.
func (l *lab) asksAcks(s *state) bool {
	k := s.life.known(s.most())
	_, ok := k.(campaign.Acks)
	return ok || k == nil || l.o.isProgram()
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
// notes how many there were, and what the first one lacked.
const Refused campaign.Kind = "refused"

// isRefusal reports whether mount failed because of what is on the disk, and not of what the
// machine lacks.
func isRefusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EBUSY, unix.ENOMEM, unix.EPERM, unix.EACCES, unix.ENODEV, unix.ENXIO, unix.EINTR} {
		if errors.Is(err, errno) {
			return false
		}
	}
	return errors.As(err, new(unix.Errno))
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
