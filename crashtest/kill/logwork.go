//go:build linux

package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// The bounds of a life that nobody ends: an aimed one that has not reached its
// step by then will not, and a blind one was forgotten.
const (
	logAimedOps = 400
	logBlindOps = 200_000
)

// logLife is one life of a log.
type logLife struct {
	subject *logSubject
	life    *campaign.Life
	stage   Stage
	rng     *rand.Rand
	opts    wal.Options
	log     *wal.Log
	to      appender
	class   uint64 // of the tags, unless it is above tagClass
	tags    uint64

	mu sync.Mutex
	k  logKnown
}

// Workload implements campaign.Subject: it appends, syncs, cuts and opens again,
// in an order that the seed chooses, more often where the life is aimed at it.
func (s *logSubject) Workload(life *campaign.Life) error {
	stage, ok := life.Tracer.(Stage)
	if !ok {
		return errors.New("kill: the log's workload runs in campaigns of package kill alone")
	}
	f := &logLife{subject: s, life: life, stage: stage, rng: life.Rand, class: tagClass + 1}
	f.k = *newLogKnown(life.Known)
	f.opts = logOptions(f.rng)
	if f.stage.Aim() != "" {
		f.opts.Tracer = stage // a blind life is not observed
	}
	if f.stage.Aim() == Sync && f.opts.Sync != wal.SyncEach {
		f.opts.Sync = wal.SyncManual // a clock's syncs would not be counted alike again
	}
	f.opts.OnDurable = f.durable
	if err := f.open(); err != nil {
		return err
	}
	f.note(func(*logKnown) {})
	return errors.Join(denied(f.work()), f.log.Close())
}

// denied makes a finding of an error that denies what the log has said: nobody
// else writes here, and the disk is not at fault.
func denied(err error) error {
	for _, target := range []error{wal.ErrNotFound, wal.ErrTruncated, wal.ErrCorrupt, errLSN} {
		if errors.Is(err, target) {
			return &campaign.Broken{Kind: campaign.Lost, Clause: "C1", What: "the log denies what it has acknowledged: " + err.Error()}
		}
	}
	return err
}

// errLSN reports an append that did not get the next LSN.
var errLSN = errors.New("not the next LSN")

// work does one thing after the other.
func (f *logLife) work() error {
	weights := f.weights()
	total, most := 0, logBlindOps
	for _, w := range weights {
		total += w.weight
	}
	if f.stage.Aim() != "" {
		most = logAimedOps
	}
	err := f.append() // every life appends at least one record
	for n := 0; n < most && err == nil; n++ {
		pick := f.rng.IntN(total)
		for _, w := range weights {
			if pick -= w.weight; pick < 0 {
				err = w.do()
				break
			}
		}
	}
	return err
}

// weighted is one thing to do, and how often.
type weighted struct {
	weight int
	do     func() error
}

// weights returns what there is to do, more of what the life is aimed at.
func (f *logLife) weights() []weighted {
	list := []weighted{
		{120, f.append}, {15, f.batch}, {8, f.sync}, {3, f.front}, {3, f.back}, {1, f.reset}, {2, f.reopen}, {4, f.burst},
	}
	switch f.stage.Aim() {
	case Copy: // a small record is there after a few instructions
		f.class = tagClass - uint64(f.rng.IntN(2))
	case Sync:
		list[2].weight = 60
	case Rotation:
		f.class = tagClass
	case Cut:
		list[3].weight, list[4].weight, list[5].weight = 40, 40, 20
	case Recovery:
		list[6].weight = 60
	}
	return list
}

// note changes what is known, and says so.
func (f *logLife) note(change func(k *logKnown)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.k)
	k := f.k
	k.writers = slices.Clone(k.writers)
	f.life.Note(&k)
}

// durable implements wal.Options.OnDurable.
func (f *logLife) durable(lsn wal.LSN) {
	f.note(func(k *logKnown) { k.durable = max(k.durable, lsn) })
}

// open opens the log, which has to hold what is known.
func (f *logLife) open() error {
	defer f.stage.Enter(Recovery)()
	l, err := wal.Open(f.life.Dir, f.opts)
	if err != nil {
		return &campaign.Broken{Kind: campaign.Misjudged, Clause: "C5", What: "Open refuses what a death left: " + err.Error()}
	}
	f.log, f.to = l, l
	if f.subject.wrap != nil {
		f.to = f.subject.wrap(l)
	}
	if l.FirstLSN() != f.k.first || l.LastLSN() != f.k.appended {
		return &campaign.Broken{Kind: campaign.Lost, Clause: "C1", What: fmt.Sprintf(
			"Open found records %d to %d where %d to %d are", l.FirstLSN(), l.LastLSN(), f.k.first, f.k.appended)}
	}
	return nil
}

// reopen closes the log and opens it again.
func (f *logLife) reopen() error {
	leave := f.stage.Enter(Sync)
	err := f.log.Close()
	leave()
	if err != nil {
		return err
	}
	return f.open()
}

// span returns the span that the next record belongs to.
func (f *logLife) span(many bool) span {
	k := &f.k
	next := k.begun + 1
	if n := len(k.spans); n > 0 && !many && !k.spans[n-1].many && f.tags > 0 && k.spans[n-1].from <= next {
		return k.spans[n-1]
	}
	return f.newSpan(many)
}

// newSpan begins a span with the next record.
func (f *logLife) newSpan(many bool) span {
	f.tags++
	s := span{from: f.k.begun + 1, tag: rand.New(rand.NewPCG(f.life.Seed, f.tags)).Uint64(), many: many}
	if f.class <= tagClass {
		s.tag = s.tag&^tagClass | f.class
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.k.spans = append(trimSpans(f.k.spans, f.k.first, f.k.begun), s)
	return s
}

// append appends one record.
func (f *logLife) append() error {
	s, lsn := f.span(false), f.k.begun+1
	p := s.record(uint64(lsn))
	defer f.stage.Enter(Append)()
	f.note(func(k *logKnown) { k.begun = lsn })
	got, err := f.to.Append(p)
	if err == nil && got != lsn {
		err = fmt.Errorf("%w: an append returned %d in place of %d", errLSN, got, lsn)
	}
	if err == nil {
		f.note(func(k *logKnown) { k.appended = lsn })
	}
	return err
}

// batch appends a batch.
func (f *logLife) batch() error {
	s, from := f.span(false), f.k.begun+1
	var ps [][]byte
	room := logSegment / 4
	for n := 1 + f.rng.IntN(5); n > 0; n-- {
		p := s.record(uint64(from) + uint64(len(ps)))
		if room -= len(p); room < 0 && len(ps) > 0 {
			break
		}
		ps = append(ps, p)
	}
	to := from + wal.LSN(len(ps)) - 1
	defer f.stage.Enter(Append)()
	f.note(func(k *logKnown) { k.begun, k.batchFrom, k.batchTo = to, from, to })
	got, err := f.to.AppendBatch(ps)
	if err == nil && got != to {
		err = fmt.Errorf("%w: a batch returned %d in place of %d", errLSN, got, to)
	}
	if err == nil {
		f.note(func(k *logKnown) { k.appended, k.batchFrom, k.batchTo = to, 0, 0 })
	}
	return err
}

// sync makes everything durable, in one of three ways.
func (f *logLife) sync() error {
	defer f.stage.Enter(Sync)()
	switch f.rng.IntN(4) {
	case 0:
		return f.log.Checkpoint()
	case 1:
		return f.log.Commit(context.Background(), f.log.LastLSN())
	}
	return f.log.Sync()
}

// cut notes a cut, does it, and notes that it was done.
func (f *logLife) cut(kind cutKind, to wal.LSN, do func(wal.LSN) error, done func(k *logKnown)) error {
	defer f.stage.Enter(Cut)()
	f.note(func(k *logKnown) { k.cut, k.cutTo = kind, to })
	if err := do(to); err != nil {
		return err
	}
	f.note(func(k *logKnown) {
		k.cut, k.cutTo = cutNone, 0
		done(k)
	})
	return nil
}

// front removes records at the front.
func (f *logLife) front() error {
	n := uint64(f.k.appended + 1 - f.k.first)
	if n == 0 {
		return f.append()
	}
	to := f.k.first + 1 + wal.LSN(f.rng.Uint64N(n))
	return f.cut(cutFront, to, f.log.TruncateFront, func(k *logKnown) { k.first = to })
}

// back removes records at the back. What is appended in their place is of
// another span.
func (f *logLife) back() error {
	n := uint64(f.k.appended + 1 - f.k.first)
	if n == 0 {
		return f.append()
	}
	to := f.k.appended - wal.LSN(1+f.rng.Uint64N(min(n, 40)))
	err := f.cut(cutBack, to, f.log.TruncateBack, func(k *logKnown) { k.begun, k.appended, k.durable = to, to, to })
	f.newSpan(false)
	return err
}

// reset begins the log anew at another LSN, which it may have had.
func (f *logLife) reset() error {
	next := max(1, f.k.appended+1+wal.LSN(f.rng.IntN(60))-min(f.k.appended, 30))
	err := f.cut(cutReset, next, f.log.Reset, func(k *logKnown) {
		k.first, k.begun, k.appended, k.durable = next, next-1, next-1, next-1
		k.spans = nil
	})
	f.newSpan(false)
	return err
}

// burst has several writers append at once.
func (f *logLife) burst() error {
	defer f.stage.Enter(Append)()
	s := f.newSpan(true)
	each := uint64(1 + f.rng.IntN(8))
	f.note(func(k *logKnown) { k.writers = make([]writer, 2+f.rng.IntN(3)) })
	errs := make([]error, len(f.k.writers))
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for n := uint64(0); n < each && errs[w] == nil; n++ {
				errs[w] = f.appendAs(s, w, n)
			}
		})
	}
	all.Wait()
	f.note(func(k *logKnown) { k.writers = nil })
	f.newSpan(false)
	return errors.Join(errs...)
}

// appendAs appends one record of one of several writers.
func (f *logLife) appendAs(s span, w int, n uint64) error {
	f.note(func(k *logKnown) {
		k.begun++
		k.writers[w].begun++
	})
	lsn, err := f.to.Append(s.record(number(w, n)))
	if err == nil {
		f.note(func(k *logKnown) {
			k.appended = max(k.appended, lsn)
			k.writers[w].appended++
		})
	}
	return err
}
