package wal_test

import (
	"context"
	"errors"
	"flag"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// machine is a log beside a model of it in memory: the life's newest mark. It
// is crashed, killed and opened again between other calls.
type machine struct {
	*life
	reader *wal.Reader
	read   wal.LSN // the last record that the reader returned, or the one before its first
	has    bool    // it returned one
	whole  bool    // it is to begin with the log's first record, and returned none
	cut    bool    // and that was cut away since
}

// TestMachine runs random calls against the model.
func TestMachine(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	given := flag.Lookup("rapid.seed").Value.String() != "0"
	for round := range rounds(t, 1, 10) {
		if !given || round > 0 {
			must(t, flag.Set("rapid.seed", strconv.FormatUint(seed+uint64(round), 10)))
		}
		rapid.Check(t, runMachine)
		if t.Failed() {
			return
		}
	}
}

func runMachine(t *rapid.T) {
	rng := newRand(rapid.Uint64().Draw(t, "seed"))
	o := withMin(wal.Options{
		SegmentsAhead: rapid.IntRange(1, 3).Draw(t, "ahead"),
		Align: rapid.SampledFrom([]wal.Align{
			wal.AlignFrame, wal.AlignSector, wal.AlignFolio,
		}).Draw(t, "align"),
		Sync: rapid.SampledFrom([]wal.SyncPolicy{
			wal.SyncManual, wal.SyncEach, wal.SyncEvery(100 * time.Microsecond),
		}).Draw(t, "sync"),
	})
	m := &machine{life: newLife(t, o, rng)}
	m.open()
	t.Repeat(map[string]func(*rapid.T){
		"append":     m.drawAppend,
		"small":      func(t *rapid.T) { m.append(rapid.IntRange(0, 200).Draw(t, "bytes")) },
		"batch":      m.drawBatch,
		"commit":     m.drawCommit,
		"sync":       func(*rapid.T) { m.sync(); m.wantDurable(m.last().appended) },
		"checkpoint": func(*rapid.T) { m.checkpoint(); m.wantDurable(m.last().appended) },
		"get":        m.drawGet,
		"read":       m.drawRead,
		"front":      m.drawFront,
		"back":       m.drawBack,
		"reset":      m.drawReset,
		"reopen":     func(*rapid.T) { m.close(); m.wantClean(); m.open(); m.forget() },
		"crash":      m.drawCrash,
		"kill":       m.drawKill,
		"":           m.invariant,
	})
	m.close()
	m.wantFaithful()
	m.wantClean()
	m.discard()
}

// forget gives up the reader of a log that is no more.
func (m *machine) forget() { m.reader, m.read, m.has, m.cut = nil, 0, false, false }

// invariant compares the log's numbers with the model's.
func (m *machine) invariant(t *rapid.T) {
	known := m.last()
	l := m.log
	if l.FirstLSN() != known.first() || l.LastLSN() != known.begun() ||
		l.DurableLSN() < known.durable || l.DurableLSN() > l.LastLSN() {
		t.Fatalf("first %d, last %d, durable %d; the model has %d to %d, %d durable",
			l.FirstLSN(), l.LastLSN(), l.DurableLSN(), known.first(), known.begun(), known.durable)
	}
	s := l.Stats()
	if s.AtRiskRecords > uint64(l.LastLSN()) || s.AtRisk < 0 {
		t.Fatalf("stats: %+v", s)
	}
}

func (m *machine) drawAppend(t *rapid.T) {
	n := rapid.SampledFrom([]int{0, 1, 8, 488, 512, 4072, 4096, 9000, 20000, 40000, int(m.log.MaxRecordBytes())}).Draw(t, "bytes")
	m.append(n)
}

func (m *machine) drawBatch(t *rapid.T) {
	m.appendBatch(rapid.SliceOfN(rapid.IntRange(0, 6000), 2, 6).Draw(t, "sizes")...)
}

// drawCommit makes some record durable.
func (m *machine) drawCommit(t *rapid.T) {
	lsn := m.drawLSN(t)
	if err := m.log.Commit(context.Background(), lsn); err != nil {
		t.Fatalf("commit %d: %v", lsn, err)
	}
	m.note(func(k *mark) { k.durable = max(k.durable, lsn) })
	m.wantDurable(lsn)
}

// wantDurable checks that the log counts a record as durable.
func (m *machine) wantDurable(lsn wal.LSN) {
	if got := m.log.DurableLSN(); got < lsn {
		m.t.Fatalf("durable is %d behind a sync of %d", got, lsn)
	}
}

func (m *machine) drawGet(t *rapid.T) {
	lsn := m.drawLSN(t)
	known := m.last()
	p, err := m.log.Get(lsn)
	if err != nil || seawall.Sum(p) != known.record(lsn).Sum {
		t.Fatalf("get %d: %d bytes, %v", lsn, len(p), err)
	}
	if _, err := m.log.Get(known.first() - 1); !errors.Is(err, wal.ErrTruncated) {
		t.Fatalf("get %d, before the first: %v", known.first()-1, err)
	}
}

// drawLSN returns the LSN of some record.
func (m *machine) drawLSN(t *rapid.T) wal.LSN {
	first, last := m.log.FirstLSN(), m.log.LastLSN()
	if last < first {
		t.Skip("no record")
	}
	return wal.LSN(rapid.Uint64Range(uint64(first), uint64(last)).Draw(t, "lsn"))
}

// drawFront cuts the front: at a record, or behind the last one.
func (m *machine) drawFront(t *rapid.T) {
	first, last := m.log.FirstLSN(), m.log.LastLSN()
	front := wal.LSN(rapid.Uint64Range(uint64(first), uint64(last+1)).Draw(t, "first"))
	m.truncateFront(front)
	if front > first {
		m.wantDurable(last)
	}
}

// drawBack cuts the back: at a record, often one of the last, or before the first.
func (m *machine) drawBack(t *rapid.T) {
	first, last := m.log.FirstLSN(), m.log.LastLSN()
	if rapid.Bool().Draw(t, "near the end") {
		first = max(first, last-min(last, 5))
	}
	m.truncateBack(wal.LSN(rapid.Uint64Range(uint64(first-1), uint64(last)).Draw(t, "last")))
	m.cutBehind(m.log.LastLSN())
}

// drawReset empties the log.
func (m *machine) drawReset(t *rapid.T) {
	m.reset(wal.LSN(rapid.Uint64Range(1, 200).Draw(t, "next")))
	m.cutBehind(0)
}

// cutBehind notes that the records behind one are gone: a reader that returned
// one of them has lost its place, another that was to begin there has nothing
// to say.
func (m *machine) cutBehind(last wal.LSN) {
	switch {
	case m.read <= last:
	case m.whole: // goes back to what is the first record, when it looks
	case m.has:
		m.cut = true
	default:
		m.forget()
	}
}

// drawRead goes on reading, or begins again somewhere.
func (m *machine) drawRead(t *rapid.T) {
	known := m.last()
	if m.reader == nil || rapid.Bool().Draw(t, "anew") {
		from := wal.LSN(rapid.Uint64Range(uint64(known.first()), uint64(known.begun()+1)).Draw(t, "from"))
		if from == known.first() && rapid.Bool().Draw(t, "from the first") {
			from = 0
		}
		m.forget()
		m.reader, m.read, m.whole = m.log.Reader(from), max(from, known.first())-1, from == 0
	}
	if m.whole {
		m.read = min(m.read, known.first()-1)
	}
	for range rapid.IntRange(1, 20).Draw(t, "records") {
		next := m.reader.Next()
		switch {
		case m.cut || m.read+1 < known.first():
			if next || !errors.Is(m.reader.Err(), wal.ErrTruncated) {
				t.Fatalf("reader behind %d, the first is %d: %v, %v", m.read, known.first(), next, m.reader.Err())
			}
			m.forget()
			return
		case !next:
			if m.reader.Err() != nil || m.read < known.begun() {
				t.Fatalf("reader ended behind %d of %d: %v", m.read, known.begun(), m.reader.Err())
			}
			return
		}
		m.read++
		m.has, m.whole = true, false
		if m.reader.LSN() != m.read || seawall.Sum(m.reader.Record()) != known.record(m.read).Sum {
			t.Fatalf("reader returned %d, want %d", m.reader.LSN(), m.read)
		}
	}
}

// drawCrash loses power now, or a while ago, and opens what is left.
func (m *machine) drawCrash(t *rapid.T) {
	mode := rapid.SampledFrom([]durabilitytest.CrashMode{
		durabilitytest.Drop, durabilitytest.Keep, durabilitytest.Mix,
	}).Draw(t, "mode")
	ago := rapid.IntRange(0, 12).Draw(t, "events ago")
	m.stop()
	at := max(0, m.rec.Len()-ago)
	known := m.known(at)
	known.forget()
	m.goOn(m.rec.CrashAs(mode, m.root, at, m.rng), known)
}

// drawKill kills the process now, or a while ago, within a store.
func (m *machine) drawKill(t *rapid.T) {
	ago := rapid.IntRange(0, 12).Draw(t, "events ago")
	torn := rapid.IntRange(0, 5000).Draw(t, "torn")
	m.stop()
	at := max(0, m.rec.Len()-ago)
	m.goOn(m.rec.Killed(m.root, at, torn), m.known(at))
}

// goOn opens what a crash left.
func (m *machine) goOn(state durabilitytest.Files, known mark) {
	known.records = known.until(known.begun())
	next := newLifeAfter(m.t, m.opts, m.rng, state, known, fastDir(m.t))
	m.discard()
	m.life = next
	m.wantNoDamage()
	m.open()
	m.forget()
}

// wantNoDamage and wantClean verify the log at rest.
func (m *machine) wantNoDamage() { m.verify(wal.Torn) }
func (m *machine) wantClean()    { m.verify(wal.Clean) }

func (m *machine) verify(worst wal.Verdict) {
	rep, err := wal.Verify(m.dir())
	if known := m.last(); err != nil && known.begun() == 0 {
		return // a crash before the first record
	}
	if err != nil || rep.Verdict > worst {
		m.t.Fatalf("verify: %+v, %v", rep, err)
	}
}
