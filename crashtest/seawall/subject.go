//go:build linux

// Package seawall is the log as a subject of crash tests: seeded lives under
// every set of options, with batches, rotations, cuts at both ends, resets and
// openings in the middle, and the two oracles for what is left of them.
package seawall

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// Log is the log as a campaign.Subject.
type Log struct {
	// Label is its name; empty is "log", "busy-log" or "paired-log".
	Label string

	// Busy has appends come between the syncs of other calls, and run ahead of the
	// names that segments get.
	Busy bool

	// Paired has each call of the log come during each other one, and where there are no
	// descriptors, no memory or no space.
	Paired bool

	// OpenLog opens it; nil is wal.Open. A log that is wrong in a known way comes
	// in here.
	OpenLog func(dir string, o wal.Options) (*wal.Log, error)

	// VerifyLog verifies it; nil is wal.Verify.
	VerifyLog func(dir string) (*wal.Report, error)

	// Wrong is how the log is wrong that OpenLog opens: recovery in memory is it too.
	Wrong waltest.Wrong

	// Refuse, if set, has the kernel refuse the syncs of the life, until it is called
	// again with false. Lives end with a sync that is refused then.
	Refuse func(refuse bool)

	// Doing, if set, is told what a life is about to do: "open", "close", or a step.
	Doing func(step string)

	// Before, if set, returns what appends go to in the place of the log: another
	// way to be wrong.
	Before func(*wal.Log) Appender
}

// Appender is what lives append to.
type Appender interface {
	Append(p []byte) (wal.LSN, error)
	AppendBatch(ps [][]byte) (wal.LSN, error)
}

// Name implements campaign.Subject.
func (s *Log) Name() string {
	switch {
	case s.Label != "":
		return s.Label
	case s.Busy:
		return "busy-log"
	case s.Paired:
		return "paired-log"
	}
	return "log"
}

// Situations implements campaign.Situations.
func (s *Log) Situations() []string {
	if s.Busy {
		return situations
	}
	return nil
}

// Unordered implements campaign.Unordered.
func (s *Log) Unordered() bool { return s.Paired }

// open opens a log.
func (s *Log) open(dir string, o wal.Options) (*wal.Log, error) {
	if s.OpenLog == nil {
		return wal.Open(dir, o)
	}
	return s.OpenLog(dir, o)
}

// Workload implements campaign.Subject.
func (s *Log) Workload(l *campaign.Life) error {
	w := s.work(l)
	switch {
	case w.stage != nil && (w.busy || s.Paired):
		return errors.New("seawall: what a busy life does depends on its Tracer alone: it is none for campaigns of package kill")
	case s.Paired:
		return w.livePairs()
	}
	return w.live()
}

// work returns a life at its beginning.
func (s *Log) work(l *campaign.Life) *work {
	stage, _ := l.Tracer.(kill.Stage)
	return &work{life: l, rng: l.Rand, subject: s, stage: stage, busy: s.Busy, tag: l.Seed, did: map[string]int{}}
}

// misjudged tells of a log that is refused, or reported as damaged, unless the error says
// already what is broken.
func misjudged(what string, err error) error {
	b := campaign.AsBroken(err, campaign.Misjudged)
	if b.Clause == "" {
		b.Clause, b.What = "C5", what+": "+b.What
	}
	return b
}

// RecoverFiles implements campaign.Pure by the recovery that Open runs.
func (s *Log) RecoverFiles(files map[string][]byte) (campaign.Found, error) {
	log := make(map[string][]byte, len(files))
	for name, content := range files {
		if own, ok := strings.CutPrefix(name, logName+"/"); ok && own != "" {
			log[own] = content
		}
	}
	h := &Held{}
	r, err := waltest.RecoverWrong(log, s.Wrong, h.Add)
	switch {
	case err != nil:
		return nil, misjudged("open", err)
	case r.Verdict == wal.Damaged:
		return nil, misjudged("open", fmt.Errorf("a state that a crash may leave is reported as damaged: %s", r.Damage))
	case r.Missing:
		return noLog(), nil
	}
	return h, h.Finish(r.First, r.Last)
}

// Recover implements campaign.Subject: the log is verified, which changes no file,
// read, opened, read again, and goes on; all that has to tell the same.
func (s *Log) Recover(dir string) (campaign.Found, error) {
	dir = filepath.Join(dir, logName)
	held, err := s.lookOnly(dir)
	if errors.Is(err, wal.ErrMissing) {
		held, err = noLog(), nil
	}
	if err != nil {
		return nil, err
	}
	return s.openAndGoOn(dir, func(opened *Held) error {
		if !held.Same(opened) {
			return illegal("dump and open differ: dump read records %d to %d, open recovered %d to %d", held.First, held.Last, opened.First, opened.Last)
		}
		return nil
	})
}

// RecoverInPlace is Recover where the page cache may hold what the disk has failed to take: then
// dump shows what it reads, and open what is on the disk.
func (s *Log) RecoverInPlace(dir string) (campaign.Found, error) {
	return s.openAndGoOn(filepath.Join(dir, logName), func(*Held) error { return nil })
}

// NamesFiles says that the log names the file in each error.
func (s *Log) NamesFiles() bool { return true }

// openAndGoOn opens the log, reads it, and goes on with it, if that passes a test.
func (s *Log) openAndGoOn(dir string, test func(*Held) error) (campaign.Found, error) {
	l, err := s.reopen(dir)
	if err != nil {
		return nil, misjudged("open", err)
	}
	opened, err := ReadOpen(l)
	if err == nil {
		err = test(opened)
	}
	if err == nil {
		err = durable(l)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return opened, s.goOn(opened, l, dir)
}

// durable returns an error unless all of a log that was just opened is durable.
func durable(l *wal.Log) error {
	if l.DurableLSN() == l.LastLSN() {
		return nil
	}
	return &campaign.Broken{Kind: campaign.Lost, Clause: "C4", What: fmt.Sprintf("open returned with record %d durable of %d", l.DurableLSN(), l.LastLSN())}
}

// noLog is what is held where no log is yet.
func noLog() *Held { return &Held{First: 1, From: 1} }

// goOn appends to a recovered log and closes it: it must hold all of it then, and
// have refused a second writer.
func (s *Log) goOn(h *Held, l *wal.Log, dir string) error {
	want := *h
	defer func() { _ = l.Close() }() // a second time, where all goes well
	for _, n := range []int{20, 0, 700} {
		r := run{from: want.Last + 1, tag: uint64(n), size: n}
		p := r.record(uint64(r.from))
		lsn, err := l.Append(p)
		if err == nil && lsn != r.from {
			err = fmt.Errorf("LSN %d: %w", lsn, errLSN)
		}
		if err == nil {
			err = want.Add(lsn, p)
		}
		if err != nil {
			return broken(fmt.Sprintf("append of record %d after recovery", r.from), err)
		}
		h.after = append(h.after, r)
	}
	if err := l.Sync(); err != nil {
		return broken("sync after recovery", err)
	}
	if second, err := s.reopen(dir); err == nil {
		return errors.Join(&campaign.Broken{Kind: campaign.Illegal, Clause: "C9", What: "a second writer opened a log that has one"}, second.Close())
	}
	if err := l.Close(); err != nil {
		return broken("close after recovery", err)
	}
	now, err := s.verifyAndDump(dir, true)
	if err != nil {
		return err
	}
	if !now.Same(&want) {
		return broken("going on", fmt.Errorf("the log holds records %d to %d, not %d to %d as it was left", now.First, now.Last, want.First, want.Last))
	}
	return nil
}

// verifyAndDump verifies a log without opening it, and reads its records.
func (s *Log) verifyAndDump(dir string, clean bool) (*Held, error) {
	verify := s.VerifyLog
	if verify == nil {
		verify = wal.Verify
	}
	rep, err := verify(dir)
	switch {
	case errors.Is(err, wal.ErrMissing):
		return nil, err
	case err != nil:
		return nil, misjudged("verify", err)
	case rep.Verdict == wal.Damaged:
		return nil, misjudged("verify", fmt.Errorf("a state that a crash may leave is reported as damaged: %+v", rep.Damage))
	case clean && (rep.Verdict != wal.Clean || rep.DurableLSN != rep.LastLSN):
		return nil, broken("verify", fmt.Errorf("%v, durable %d of %d", rep.Verdict, rep.DurableLSN, rep.LastLSN))
	}
	h := &Held{}
	dumped, err := wal.Dump(dir, wal.DumpOptions{}, h.Add)
	switch {
	case err != nil:
		return nil, misjudged("dump", err)
	case dumped.Verdict == wal.Damaged:
		return nil, misjudged("dump", fmt.Errorf("a state that a crash may leave is reported as damaged: %+v", dumped.Damage))
	case dumped.FirstLSN != rep.FirstLSN || dumped.LastLSN != rep.LastLSN:
		return nil, illegal("verify finds records %d to %d, dump %d to %d", rep.FirstLSN, rep.LastLSN, dumped.FirstLSN, dumped.LastLSN)
	}
	if err = h.FinishAll(rep.FirstLSN, rep.LastLSN); err != nil {
		return nil, err
	}
	h.tail, err = tailOf(rep)
	return h, err
}

// ReadOpen reads an open log's records.
func ReadOpen(l *wal.Log) (*Held, error) {
	h := &Held{}
	r := l.Reader(0)
	for r.Next() {
		if err := h.Add(r.LSN(), r.Record()); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	if err := errors.Join(r.Err(), r.Close()); err != nil {
		return nil, broken("reading", err)
	}
	return h, h.FinishAll(l.FirstLSN(), l.LastLSN())
}

// Subjects returns the subjects that are built in.
func Subjects() []campaign.Subject {
	return []campaign.Subject{&Log{}, &Log{Busy: true}, &Log{Paired: true}}
}
