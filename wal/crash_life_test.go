package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// tester is what a testing.TB and a *rapid.T have in common.
type tester interface {
	Helper()
	Cleanup(func())
	Logf(string, ...any)
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// fastDir returns a directory in memory, where there is one: what a crash
// leaves is made and judged there, so that thousands of syncs cost nothing.
func fastDir(t tester) string {
	t.Helper()
	base := "/dev/shm"
	if st, err := os.Stat(base); err != nil || !st.IsDir() {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "seawall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// batches numbers the batches of all lives.
var batches atomic.Int64

// mark is what is known of a log from an event on.
type mark struct {
	at       int             // events that had happened
	base     wal.LSN         // the first of records has the LSN behind it
	records  []seawall.Begun // whose append had begun: what the log may hold
	front    wal.LSN         // the log's first LSN; 0 is 1
	durable  wal.LSN         // acknowledged: what power loss must leave
	appended wal.LSN         // appended: what the death of the process must leave
	or       *mark           // a cut is under way: what the log may be instead
}

// first returns the LSN that the log begins with.
func (m *mark) first() wal.LSN { return max(m.front, 1) }

// begun returns the last LSN whose append had begun.
func (m *mark) begun() wal.LSN { return m.base + wal.LSN(len(m.records)) }

// record returns what was appended under the LSN.
func (m *mark) record(lsn wal.LSN) seawall.Begun { return m.records[lsn-m.base-1] }

// forOracles returns what is known as the oracles of crashtest take it.
func (m *mark) forOracles() *seawall.Mark {
	var or *seawall.Mark
	if m.or != nil {
		or = m.or.forOracles()
	}
	return seawall.NewMark(m.first(), m.durable, m.appended, m.base, m.records, or)
}

// forget takes away what power loss does: what was only appended.
func (m *mark) forget() {
	m.appended = m.durable
	if m.or != nil {
		or := *m.or
		or.appended = or.durable
		m.or = &or
	}
}

// until returns the records up to the LSN, to be appended to without harm.
func (m *mark) until(lsn wal.LSN) []seawall.Begun {
	n := lsn - m.base
	return m.records[:n:n]
}

// life is a log at work under a recorder, and what is known of it at each
// event. Appends come from one goroutine.
type life struct {
	t    tester
	rec  *recorder
	root string // the log's directory is below, so that its birth is seen
	opts wal.Options
	log  *wal.Log

	mu      sync.Mutex
	marks   []mark
	stopped bool

	events []durability.Event // of rec, once it is at rest
	before func() string      // tells where the life's first state comes from

	believes bool // it began with a cache that held what the device did not

	rng *rand.Rand
	tag uint64 // makes the payloads of one life different from another's
}

// recorder is a Recorder that can be told to look no further.
type recorder struct {
	*durabilitytest.Recorder
	mu      sync.Mutex
	stopped bool
}

func newRecorder() *recorder { return &recorder{Recorder: durabilitytest.NewRecorder()} }

// Trace implements durability.Tracer.
func (r *recorder) Trace(e durability.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.Recorder.Trace(e)
	}
}

// Stop ends the recording.
func (r *recorder) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

// logName is the log's directory below a life's root.
const logName = "log"

// newLife prepares a life in an empty directory.
func newLife(t tester, o wal.Options, rng *rand.Rand) *life {
	f := &life{
		t: t, rec: newRecorder(), root: fastDir(t), opts: o, rng: rng,
		tag: rng.Uint64(), marks: []mark{{}},
	}
	f.prepareOptions()
	return f
}

// newLifeAfter prepares a life that begins with what a crash left.
func newLifeAfter(t tester, o wal.Options, rng *rand.Rand, state durabilitytest.Files, m mark, scratch string) *life {
	m.at = 0
	f := &life{
		t: t, rec: newRecorder(), root: scratch, opts: o, rng: rng,
		tag: rng.Uint64(), marks: []mark{m},
	}
	if err := state.WriteTo(f.root); err != nil {
		t.Fatal(err)
	}
	if err := f.rec.Base(f.root); err != nil {
		t.Fatal(err)
	}
	f.prepareOptions()
	return f
}

// prepareOptions connects the log to the recorder and to the marks.
func (f *life) prepareOptions() {
	f.opts.Tracer = f.rec
	f.opts.OnDurable = func(lsn wal.LSN) {
		f.note(func(m *mark) { m.durable = max(m.durable, lsn) })
	}
}

// dir returns the log's directory.
func (f *life) dir() string { return filepath.Join(f.root, logName) }

// note adds what became known just now.
func (f *life) note(change func(*mark)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	m := f.marks[len(f.marks)-1]
	change(&m)
	m.at = f.rec.Len()
	f.marks = append(f.marks, m)
}

// last returns the newest mark.
func (f *life) last() mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.marks[len(f.marks)-1]
}

// known returns what was known when the first at events had happened.
func (f *life) known(at int) mark {
	i, _ := slices.BinarySearchFunc(f.marks, at+1, func(m mark, at int) int { return m.at - at })
	return f.marks[i-1]
}

// open opens the log. What it returns is acknowledged by that.
func (f *life) open() {
	f.t.Helper()
	l, err := wal.Open(f.dir(), f.opts)
	if err != nil {
		f.t.Fatalf("open: %v", err)
	}
	f.log = l
	f.check(true)
	f.note(func(m *mark) {
		if m.or != nil && m.or.is(l) {
			*m = *m.or
		}
		m.or = nil
		m.records = m.until(l.LastLSN())
		m.durable, m.appended = l.LastLSN(), l.LastLSN()
	})
}

// is reports whether an opened log is the one that the mark speaks of, and not
// the one that it may be instead.
func (m *mark) is(l *wal.Log) bool {
	if m.first() != l.FirstLSN() || l.LastLSN() < m.durable || l.LastLSN() > m.begun() || l.LastLSN() < m.base {
		return false
	}
	found, err := seawall.ReadOpen(l)
	return err == nil && against(found, *m, false) == nil
}

// check reads the whole log and compares it with what was appended: just that
// or, if the log was recovered, a legal part of it.
func (f *life) check(recovered bool) {
	f.t.Helper()
	m := f.last()
	found, err := seawall.ReadOpen(f.log)
	if err == nil {
		err = against(found, m, true)
	}
	if err == nil && !recovered && found.Last != m.begun() {
		err = fmt.Errorf("the log holds records up to %d of %d", found.Last, m.begun())
	}
	if err == nil && m.or == nil && f.log.DurableLSN() < m.durable {
		err = fmt.Errorf("durable is %d, and was %d", f.log.DurableLSN(), m.durable)
	}
	if err != nil {
		f.t.Fatalf("%v\n%s", err, f.describe(f.rec.Len()))
	}
}

// payload makes a record's payload. A life has payloads of its own, so that
// what an earlier one appended at the same place is never taken for them.
func (f *life) payload(lsn wal.LSN, n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(f.tag, uint64(lsn)))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// append appends one record of n bytes.
func (f *life) append(n int) {
	f.t.Helper()
	lsn := f.log.LastLSN() + 1
	p := f.payload(lsn, n)
	f.begin(p)
	got, err := f.log.Append(p)
	if err != nil || got != lsn {
		f.t.Fatalf("append of record %d: LSN %d, %v", lsn, got, err)
	}
	f.returned(lsn)
}

// appendBatch appends records of those sizes as a batch.
func (f *life) appendBatch(sizes ...int) {
	f.t.Helper()
	first := f.log.LastLSN() + 1
	var ps [][]byte
	for i, n := range sizes {
		ps = append(ps, f.payload(first+wal.LSN(i), n))
	}
	f.begin(ps...)
	last := first + wal.LSN(len(ps)) - 1
	got, err := f.log.AppendBatch(ps)
	if err != nil || got != last {
		f.t.Fatalf("append of batch %d to %d: LSN %d, %v", first, last, got, err)
	}
	f.returned(last)
}

// begin notes records that are about to be appended.
func (f *life) begin(ps ...[]byte) {
	batch := int64(0)
	if len(ps) > 1 {
		batch = batches.Add(1)
	}
	f.note(func(m *mark) {
		for _, p := range ps {
			m.records = append(m.records, seawall.Begun{Sum: seawall.Sum(p), Batch: batch})
		}
	})
}

// returned notes that an append returned.
func (f *life) returned(lsn wal.LSN) {
	f.note(func(m *mark) {
		m.appended = lsn
		if f.opts.Sync == wal.SyncEach {
			m.durable = max(m.durable, lsn)
		}
	})
}

// sync, checkpoint and close do what the log's methods of that name do, and
// note that all that was appended is acknowledged.
func (f *life) sync()       { f.acknowledged("sync", f.log.Sync()) }
func (f *life) checkpoint() { f.acknowledged("checkpoint", f.log.Checkpoint()) }
func (f *life) close()      { f.acknowledged("close", f.log.Close()) }

func (f *life) acknowledged(what string, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	f.note(func(m *mark) { m.durable = m.appended })
}

// cut does one of the log's cuts: until it returns the log may be what it was or
// what it is to be, and from then on only that.
func (f *life) cut(what string, do func() error, becomes func(*mark)) {
	f.t.Helper()
	f.note(func(m *mark) {
		next := *m
		becomes(&next)
		m.or = &next
	})
	if err := do(); err != nil {
		f.t.Fatalf("%s: %v\n%s", what, err, f.describe(f.rec.Len()))
	}
	f.note(func(m *mark) { *m = *m.or })
}

// truncateFront, truncateBack and reset do what the log's methods of that name
// do.
func (f *life) truncateFront(lsn wal.LSN) {
	f.t.Helper()
	if known := f.last(); lsn <= known.first() {
		if err := f.log.TruncateFront(lsn); err != nil {
			f.t.Fatalf("truncate the front to %d, where it is: %v", lsn, err)
		}
		return
	}
	f.cut(fmt.Sprintf("truncate the front to %d", lsn), func() error { return f.log.TruncateFront(lsn) }, func(m *mark) {
		m.front = lsn
		m.durable = max(m.durable, lsn-1)
	})
	f.note(func(m *mark) { m.durable = m.appended })
}

func (f *life) truncateBack(lsn wal.LSN) {
	f.t.Helper()
	f.cut(fmt.Sprintf("truncate the back to %d", lsn), func() error { return f.log.TruncateBack(lsn) }, func(m *mark) {
		m.records = m.until(lsn)
		m.durable, m.appended = lsn, lsn
	})
}

func (f *life) reset(next wal.LSN) {
	f.t.Helper()
	f.cut(fmt.Sprintf("reset to %d", next), func() error { return f.log.Reset(next) }, func(m *mark) {
		*m = mark{base: next - 1, front: next, durable: next - 1, appended: next - 1}
	})
}

// stop ends a life whose log is as it is: what the events up to here are is
// all that happened. The log itself is closed behind the recorder's back.
func (f *life) stop() {
	f.t.Helper()
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.rec.Stop()
	if err := f.log.Close(); err != nil && !errors.Is(err, wal.ErrClosed) && !errors.Is(err, wal.ErrPoisoned) {
		f.t.Fatalf("close: %v", err)
	}
}

// discard removes the life's files early.
func (f *life) discard() {
	if err := os.RemoveAll(f.root); err != nil {
		f.t.Error(err)
	}
}

// wantFaithful compares the recorder's replay of the whole trace with the
// directory: a store that nobody reported would make every crash state a lie.
func (f *life) wantFaithful() {
	f.t.Helper()
	real, err := durabilitytest.ReadFiles(f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	replay := f.rec.Final(f.root)
	if !slices.Equal(real.Names(), replay.Names()) {
		f.t.Fatalf("replay has files %v, the directory %v\n%s", replay.Names(), real.Names(), f.describe(f.rec.Len()))
	}
	for name, want := range real {
		got := replay[name]
		if f.believes && strings.HasSuffix(name, ".wal") && len(got) == len(want) {
			// The control block is nobody's witness: Open leaves those of older
			// segments alone.
			copy(got[frame.ControlOffset:frame.DataOffset], want[frame.ControlOffset:])
		}
		if !bytes.Equal(want, got) {
			i := 0
			for i < min(len(got), len(want)) && got[i] == want[i] {
				i++
			}
			f.t.Fatalf("replay of %s, %d bytes, differs from the file, %d bytes, at %d\n%s", name, len(got), len(want), i, f.describe(f.rec.Len()))
		}
	}
}

// describedEvents is how many events before a crash are printed.
const describedEvents = 12

// describe names the events around a crash.
func (f *life) describe(at int) string {
	var b bytes.Buffer
	if f.before != nil {
		fmt.Fprintf(&b, "%sand then, after its recovery,\n", f.before())
	}
	events := f.rec.Events()
	for i := max(0, at-describedEvents); i < min(at+2, len(events)); i++ {
		e := events[i]
		here := " "
		if i == at-1 {
			here = ">"
		}
		fmt.Fprintf(&b, "%s %4d %s %s %s%s off %d len %d err %v\n", here, i, e.Phase, e.Op, e.Name,
			map[bool]string{true: " -> " + e.NewName}[e.NewName != ""], e.Offset, e.Length, e.Err)
	}
	return b.String()
}

// isStore reports whether the event before the crash is a store or a write
// that a crash can tear.
func isTearable(e durability.Event) bool {
	return e.Op == durability.OpStore || e.Op == durability.OpWrite && e.Phase == durability.Before
}
