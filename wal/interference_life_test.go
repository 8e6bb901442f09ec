package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// harmedLife is a log whose neighbour harms it once.
type harmedLife struct {
	t    *testing.T
	n    *neighbour
	opts wal.Options
	l    *wal.Log

	gen     atomic.Int32 // of the payloads: the next after each cut at the back
	ended   map[wal.LSN]int32
	readers sync.WaitGroup
	stop    context.CancelFunc
	other   *wal.LogReader

	// What was acknowledged: records from front to acked.
	front, acked wal.LSN
}

const harmedBytes = 9000

// payload is the payload of a record of a generation.
func payload(lsn wal.LSN, gen int32) []byte { return record(lsn+wal.LSN(gen)*100_000, harmedBytes) }

// harmLife runs a log through its life, with a harm on the way, and checks what
// is left. It returns what the writer said of the harm, in a word.
func harmLife(t *testing.T, rng *rand.Rand, tg target, h harm, m moment) string {
	t.Helper()
	policies := []wal.SyncPolicy{wal.SyncManual, wal.SyncEach, wal.SyncEvery(time.Millisecond)}
	root := fastDir(t)
	n := &neighbour{
		target: tg, harm: h, moment: m, at: int(rng.ExpFloat64() * tg.often),
		dir: filepath.Join(root, "log"), doing: "open",
	}
	f := &harmedLife{t: t, n: n, ended: make(map[wal.LSN]int32)}
	f.opts = wal.Options{
		SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 2, FillBytes: 4096,
		Sync: policies[rng.IntN(len(policies))], OnDurable: n.onDurable,
	}
	var err error
	if f.l, err = wal.Open(n.dir, f.opts); err != nil {
		t.Fatal(err)
	}
	n.log, f.front = f.l, 1
	if err = errors.Join(f.fill(14, 0), f.l.Sync()); err != nil {
		t.Fatal(err)
	}
	f.acked = f.l.DurableLSN()
	awaitReady(t, f.l, n.dir, 2)
	f.startReaders(rng)
	remove := durabilitytest.InjectDir(n.dir, n.hook)
	err = f.live(rng)
	n.now("close")
	err = errors.Join(err, f.l.Close())
	remove()
	f.stop()
	f.readers.Wait()
	if f.other != nil {
		if cerr := f.other.Close(); cerr != nil {
			t.Error(cerr)
		}
	}
	if n.err != nil {
		t.Fatalf("%s: %v", h.name, n.err)
	}
	f.wantNamed(err)
	f.check()
	return f.outcome(err)
}

// How a life with a harm ended, for the count.
const (
	notHarmed = "not harmed"
	noError   = "nothing"
)

// outcome says in a word what a writer said.
func (f *harmedLife) outcome(err error) string {
	var changed *durability.ChangedError
	var fault *durability.FaultError
	switch {
	case f.n.file == "":
		return notHarmed
	case err == nil:
		return noError
	case errors.As(err, &fault):
		return "FaultError"
	case errors.As(err, &changed):
		return "ChangedError"
	}
	return "another error"
}

// fill appends records, and syncs every few where the log does not sync by itself.
func (f *harmedLife) fill(records, every int) error {
	for i := range records {
		f.n.idle()
		lsn := f.l.LastLSN() + 1
		gen := f.gen.Load()
		_, err := f.l.Append(payload(lsn, gen))
		if err == nil && f.opts.Sync == wal.SyncManual && every != 0 && i%every == 0 {
			f.n.idle()
			err = f.l.Sync()
		}
		if last := f.l.LastLSN(); last >= lsn {
			f.ended[lsn] = gen
		}
		f.acked = f.l.DurableLSN()
		if err != nil {
			return err
		}
	}
	return nil
}

// live does all that a writer does, up to the first error.
func (f *harmedLife) live(rng *rand.Rand) error {
	every := 1 + rng.IntN(8)
	f.n.now("append")
	if err := f.fill(10, every); err != nil {
		return err
	}
	to := f.front + 5 + wal.LSN(rng.IntN(10))
	f.n.now("front cut")
	f.front = to
	if err := f.l.TruncateFront(to); err != nil {
		return err
	}
	f.n.now("append")
	if err := f.fill(10, every); err != nil {
		return err
	}
	f.n.now("back cut")
	to = f.l.LastLSN() - 1 - wal.LSN(rng.IntN(9))
	f.acked = min(f.l.DurableLSN(), to)
	err := f.l.TruncateBack(to)
	f.n.mu.Lock()
	f.n.before = min(f.n.before, to)
	f.n.mu.Unlock()
	if err != nil {
		return err
	}
	f.acked = to
	f.gen.Add(1)
	f.n.now("append")
	if err = f.fill(10, every); err != nil {
		return err
	}
	f.n.now("checkpoint")
	if err = f.l.Checkpoint(); err != nil {
		return err
	}
	f.acked = f.l.DurableLSN()
	return nil
}

// startReaders sets readers to work: a follower, one without copies, and at
// times one as of another process.
func (f *harmedLife) startReaders(rng *rand.Rand) {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.read(ctx, func(from wal.LSN) *wal.Reader { return f.l.Reader(from) }, false)
	f.read(ctx, func(from wal.LSN) *wal.Reader { return f.l.Reader(from).Durable().ZeroCopy() }, true)
	if rng.IntN(4) == 0 {
		var err error
		if f.other, err = wal.OpenReader(f.n.dir); err != nil {
			f.t.Fatal(err)
		}
		f.read(ctx, func(from wal.LSN) *wal.Reader { return f.other.Reader(from) }, false)
	}
}

// read follows the log until the context ends, or an error that is not that
// the record was truncated away.
func (f *harmedLife) read(ctx context.Context, from func(wal.LSN) *wal.Reader, lent bool) {
	f.readers.Go(func() {
		r := from(0)
		defer func() { _ = r.Close() }()
		for {
			for r.Follow(ctx) {
				legal := false
				err := durability.Guard(func() error {
					legal = f.legal(r.LSN(), r.Record())
					return nil
				})
				// A record that is lent may be harmed while it is read.
				if (err != nil || !legal) && (!lent || f.n.harmed() == "") {
					f.t.Errorf("a reader got other bytes for record %d: %v", r.LSN(), err)
				}
			}
			err := r.Err()
			cut := errors.Is(err, wal.ErrTruncated)
			if ctx.Err() != nil || !cut {
				if !cut && f.n.harmed() == "" && !errors.Is(err, context.Canceled) && !errors.Is(err, wal.ErrClosed) {
					f.t.Errorf("a reader ended before anything was harmed: %v", err)
				}
				return
			}
			_ = r.Close()
			r = from(0)
		}
	})
}

// legal reports whether a record was appended so.
func (f *harmedLife) legal(lsn wal.LSN, p []byte) bool {
	for gen := f.gen.Load(); gen >= 0; gen-- {
		if bytes.Equal(p, payload(lsn, gen)) {
			return true
		}
	}
	return false
}

// words says what happened.
func (f *harmedLife) words() string {
	n := f.n
	return fmt.Sprintf("%s %s, at %s (%d passed), durable up to %d; sync %v; acknowledged %d to %d",
		n.harm.name, n.file, n.what, n.at, n.before, f.opts.Sync, f.front, f.acked)
}

// wantNamed checks the writer's error: there is none without a harm, and it
// names the file.
func (f *harmedLife) wantNamed(err error) {
	if err == nil {
		return
	}
	name, _, _ := strings.Cut(f.n.file, ".") // a segment's name may have changed since
	switch {
	case f.n.file == "":
		f.t.Errorf("%s: an error without a harm: %v", f.words(), err)
	case !strings.Contains(err.Error(), name) && (f.n.renamed == "" || !strings.Contains(err.Error(), f.n.renamed)):
		f.t.Errorf("%s: the error does not name the file: %v", f.words(), err)
	}
}

// check opens the log again. What was acknowledged behind the harm must be
// there: in the log, or intact behind damage that is named. So must be what was
// acknowledged before, where the harm took nothing.
func (f *harmedLife) check() {
	o := f.opts
	o.OnDurable = nil
	got := make(map[wal.LSN]bool)
	l, err := wal.Open(f.n.dir, o)
	var corrupt *wal.CorruptError
	switch {
	case err == nil:
		f.readAgain(l, got)
	case errors.As(err, &corrupt) && corrupt.File != "" && f.n.file != "":
	default:
		f.t.Errorf("%s: the log cannot be opened again: %v", f.words(), err)
		return
	}
	note := func(lsn wal.LSN, p []byte) error { f.note(got, lsn, p); return nil }
	if _, derr := wal.Dump(f.n.dir, wal.DumpOptions{Behind: note}, note); derr != nil {
		f.t.Errorf("%s: dump: %v", f.words(), derr)
	}
	for lsn := f.owed(); lsn <= f.acked; lsn++ {
		if !got[lsn] {
			f.t.Errorf("%s: record %d was acknowledged and is gone; open: %v", f.words(), lsn, err)
			return
		}
	}
}

// owed returns the first record that the harm is no excuse for.
func (f *harmedLife) owed() wal.LSN {
	if f.n.held {
		return max(f.front, f.n.before+1)
	}
	return f.front
}

// note notes a record that the log still has.
func (f *harmedLife) note(got map[wal.LSN]bool, lsn wal.LSN, p []byte) {
	if !f.legal(lsn, p) {
		f.t.Errorf("%s: the log has other bytes for record %d", f.words(), lsn)
	}
	got[lsn] = bytes.Equal(p, payload(lsn, f.ended[lsn]))
}

// readAgain reads a log that was opened again, up to damage that is named, of
// which there is none where the harm took nothing.
func (f *harmedLife) readAgain(l *wal.Log, got map[wal.LSN]bool) {
	r := l.Reader(0)
	for r.Next() {
		f.note(got, r.LSN(), r.Record())
	}
	var corrupt *wal.CorruptError
	err := errors.Join(r.Err(), r.Close())
	if err != nil && (!f.n.held || !errors.As(err, &corrupt) || corrupt.File == "") {
		f.t.Errorf("%s: read again: %v", f.words(), err)
	}
	if err := l.Close(); err != nil {
		f.t.Errorf("%s: close of the log that was opened again: %v", f.words(), err)
	}
}
