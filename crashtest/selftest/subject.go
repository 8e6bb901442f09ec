//go:build linux

package selftest

import (
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// call is a call that the log makes of the kernel.
type call = durabilitytest.Call

// fault is one way to be wrong. What is nil is right.
type fault struct {
	// skip says which calls are skipped, and taken for done.
	skip func(*scene, *call) bool
	// tell returns what the tracer is told in place of an event.
	tell func(*scene, durability.Event) []durability.Event
	// early has the log acknowledge everything as it begins a call for which it is
	// true.
	early func(*scene, *call) bool
	// note changes what the log says of itself.
	note func(campaign.Known) campaign.Known
	// wrong is what package waltest takes away.
	wrong waltest.Wrong
	// open and verify are in the place of the log's own.
	open   func(dir string, o wal.Options) (*wal.Log, error)
	verify func(dir string) (*wal.Report, error)
	// everywhere has skip count in recovery on real files, too.
	everywhere bool
	// busy has the lives be busy ones.
	busy bool
	// refused has lives end with a sync that the kernel refuses, and lossy has what a
	// failed sync covered be lost for good, as Linux does it. A sync that is skipped
	// counts as failed.
	refused, lossy bool
}

// subject is the log with a fault or, mended, without it.
type subject struct {
	name   string
	fault  *fault
	mended bool
}

var (
	_ campaign.Pure       = (*subject)(nil)
	_ campaign.Detector   = (*subject)(nil)
	_ campaign.Situations = (*subject)(nil)
)

// log returns the log that the subject is.
func (s *subject) log() *seawall.Log {
	l := &seawall.Log{Label: s.name, Busy: s.fault.busy}
	if s.mended {
		return l
	}
	l.OpenLog, l.VerifyLog, l.Wrong = s.fault.open, s.fault.verify, s.fault.wrong
	if w := l.Wrong; w != 0 {
		l.OpenLog = func(dir string, o wal.Options) (*wal.Log, error) { return waltest.OpenWrong(dir, o, w) }
	}
	return l
}

// Name implements campaign.Subject.
func (s *subject) Name() string { return s.name }

// Situations implements campaign.Situations: processes die in each of them.
func (s *subject) Situations() []string { return s.log().Situations() }

// LosesFailedSyncs implements model.Lossy.
func (s *subject) LosesFailedSyncs() bool { return s.fault.lossy }

// Workload implements campaign.Subject.
func (s *subject) Workload(l *campaign.Life) error {
	sc := &scene{subject: s, life: l}
	own := *l
	own.Tracer = &teller{sc: sc, to: l.Tracer}
	if s.fault.note != nil && !s.mended {
		own.Note = func(k campaign.Known) { l.Note(s.fault.note(k)) }
	}
	log := s.log()
	log.Doing = sc.doing
	if s.fault.refused {
		log.Refuse = sc.refuse
	}
	defer durabilitytest.InjectDir(l.Dir, sc.hook)()
	return log.Workload(&own)
}

// RecoverFiles implements campaign.Pure.
func (s *subject) RecoverFiles(files map[string][]byte) (campaign.Found, error) {
	return s.log().RecoverFiles(files)
}

// Recover implements campaign.Subject.
func (s *subject) Recover(dir string) (campaign.Found, error) {
	defer s.skipIn(dir)()
	return s.log().Recover(dir)
}

// Detect implements campaign.Detector.
func (s *subject) Detect(dir string) error {
	defer s.skipIn(dir)()
	return s.log().Detect(dir)
}

// skipIn has skip count in a directory that no life is lived in, if it is to.
func (s *subject) skipIn(dir string) (end func()) {
	if !s.fault.everywhere {
		return func() {}
	}
	sc := &scene{subject: s}
	return durabilitytest.InjectDir(dir, sc.hook)
}

// scene is one life, and how far it has come.
type scene struct {
	subject *subject
	life    *campaign.Life

	mu       sync.Mutex
	step     string        // what the life does
	changed  durability.Op // the last directory operation since the directory was synced
	name     string        // that it was on
	entered  string        // the newest segment that the log has entered
	syncs    int           // msyncs that have begun
	refusing bool
	held     []durability.Event
}

// hook is asked before and after each call.
func (sc *scene) hook(c *call) error {
	f, before := sc.subject.fault, c.Phase == durability.Before
	sc.mu.Lock()
	if before && c.Op == durability.OpMsync {
		sc.syncs++
	}
	skipped := before && f.skip != nil && f.skip(sc, c) && !sc.subject.mended
	early := before && f.early != nil && f.early(sc, c) && !sc.subject.mended
	refused := before && sc.refusing && c.Op == durability.OpMsync
	if !before || skipped {
		sc.see(c)
	}
	sc.mu.Unlock()
	switch {
	case early:
		sc.life.Note(seawall.Overstate(sc.life.Now()))
	case refused:
		return unix.EIO
	case skipped:
		return durabilitytest.ErrDrop
	}
	return nil
}

// see remembers what changes a directory.
func (sc *scene) see(c *call) {
	switch c.Op {
	case durability.OpRename, durability.OpRemove, durability.OpCreate, durability.OpMkdir:
		sc.changed, sc.name = c.Op, c.Name
	case durability.OpSyncDir:
		sc.changed = 0
	}
}

// doing is seawall.Log.Doing.
func (sc *scene) doing(step string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.step = step
}

// refuse is seawall.Log.Refuse.
func (sc *scene) refuse(refuse bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.refusing = refuse
}

// in reports whether the life does one of these.
func (sc *scene) in(steps ...string) bool { return slices.Contains(steps, sc.step) }

// teller is a tracer that may be told another story.
type teller struct {
	sc *scene
	to durability.Tracer
}

// Trace implements durability.Tracer.
func (t *teller) Trace(e durability.Event) {
	sc, told := t.sc, []durability.Event{e}
	sc.mu.Lock()
	if e.Op == durability.OpStore && e.Offset == frame.StampOffset && ordinal(e.Name) > sc.entered {
		sc.entered = ordinal(e.Name)
	}
	if tell := sc.subject.fault.tell; tell != nil && !sc.subject.mended {
		told = tell(sc, e)
	}
	sc.mu.Unlock()
	for _, e := range told {
		t.to.Trace(e)
	}
}

// LabRandom hands on what the tracer of a life does for the log.
func (t *teller) LabRandom(b []byte) bool {
	r, ok := t.to.(interface{ LabRandom(b []byte) bool })
	return ok && r.LabRandom(b)
}

// ordinal returns a segment's name without its ending.
func ordinal(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}

// temporary reports whether a segment is still being prepared under that name.
func temporary(name string) bool { return strings.HasSuffix(name, ".tmp") }
