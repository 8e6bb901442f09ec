package wal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// afterlife is what recovery makes of one content of a directory.
type afterlife struct {
	held
	missing bool  // Verify found no log; Open made one
	err     error // what is wrong, whatever was acknowledged
}

// held are the records that a log holds.
type held struct {
	first wal.LSN
	sums  []uint64 // checksums
}

// last returns the LSN of the last record.
func (h *held) last() wal.LSN { return h.first + wal.LSN(len(h.sums)) - 1 }

// add notes the next record.
func (h *held) add(lsn wal.LSN, p []byte) error {
	if lsn != h.last()+1 {
		return fmt.Errorf("record %d where %d should be", lsn, h.last()+1)
	}
	h.sums = append(h.sums, maphash.Bytes(sumSeed, p))
	return nil
}

// equal compares with what another way of reading found.
func (h *held) equal(o *held) bool { return h.first == o.first && slices.Equal(h.sums, o.sums) }

// oracle judges states that crashes leave. Equal content is recovered once;
// what was acknowledged and what was appended is compared for each state.
type oracle struct {
	t        tester
	opts     wal.Options
	scratch  string
	seen     map[[sha256.Size]byte]*afterlife
	states   int
	distinct int
	verdicts [3]int
}

// newOracle returns an oracle that opens logs with those options.
func newOracle(t tester, o wal.Options) *oracle {
	o.Tracer, o.OnDurable, o.Logger, o.Sync = nil, nil, nil, wal.SyncManual
	o.SegmentsAhead = 1
	return &oracle{t: t, opts: o, scratch: fastDir(t), seen: make(map[[sha256.Size]byte]*afterlife)}
}

// report prints how many states were judged.
func (o *oracle) report(what string) {
	o.t.Logf("%s: %d states, %d distinct: %d clean, %d torn", what, o.states, o.distinct,
		o.verdicts[wal.Clean], o.verdicts[wal.Torn])
}

// crash is one state, and where it comes from.
type crash struct {
	state  durabilitytest.Files
	mark   mark
	killed bool
	words  func() string
}

// check fails the test where the state breaks the contract.
func (o *oracle) check(c crash) *afterlife {
	o.t.Helper()
	o.states++
	key := contentKey(c.state)
	out := o.seen[key]
	if out == nil {
		out = o.recover(c.state)
		o.seen[key] = out
		o.distinct++
	}
	if err := errors.Join(out.err, out.against(c.mark, c.killed)); err != nil {
		o.fail(c, err)
	}
	return out
}

// against compares what was recovered with what was acknowledged and appended.
// Where a cut was under way, the log is wholly what it was or what it was to be.
func (h *held) against(m mark, killed bool) error {
	if or := m.or; or != nil {
		m.or = nil
		err := h.against(m, killed)
		if err == nil {
			return nil
		}
		if h.against(*or, killed) == nil {
			return nil
		}
		return fmt.Errorf("a cut is under way, and this is neither the old log (%w) nor the new one (%w)", err, h.against(*or, killed))
	}
	must := m.durable
	if killed {
		must = max(must, m.appended)
	}
	n := h.last()
	switch {
	case h.first != m.first():
		return fmt.Errorf("the first record is %d, not %d", h.first, m.first())
	case n < must:
		return fmt.Errorf("lost: recovered records up to %d, %d was acknowledged", n, must)
	case n > m.begun():
		return fmt.Errorf("phantom: recovered records up to %d, %d was appended", n, m.begun())
	}
	for i, sum := range h.sums {
		if lsn := h.first + wal.LSN(i); sum != m.record(lsn).sum {
			return fmt.Errorf("record %d is not what was appended", lsn)
		}
	}
	if n > m.base && n < m.begun() && m.record(n).batch != 0 && m.record(n).batch == m.record(n+1).batch {
		return fmt.Errorf("the batch of record %d was recovered in part", n)
	}
	return nil
}

// fail keeps the state for a person to look at, and ends the test.
func (o *oracle) fail(c crash, err error) {
	o.t.Helper()
	dir, derr := os.MkdirTemp("", "seawall-failed-state-")
	if derr == nil {
		derr = c.state.WriteTo(dir)
	}
	o.t.Fatalf("%v\nfirst %d, begun %d, appended %d, durable %d, killed %v\n%sstate kept in %s (%v), %s",
		err, c.mark.first(), c.mark.begun(), c.mark.appended, c.mark.durable, c.killed, c.words(), dir, derr, sizes(c.state))
}

// sizes lists names and sizes.
func sizes(f durabilitytest.Files) string {
	var b bytes.Buffer
	for _, name := range f.Names() {
		fmt.Fprintf(&b, "%s:%d ", name, len(f[name]))
	}
	return b.String()
}

// contentKey is a checksum over names and bytes.
func contentKey(f durabilitytest.Files) (key [sha256.Size]byte) {
	var h maphash.Hash
	h.SetSeed(sumSeed)
	d := sha256.New()
	for _, name := range f.Names() {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], uint64(len(f[name])))
		binary.LittleEndian.PutUint64(b[8:], maphash.Bytes(sumSeed, f[name]))
		d.Write([]byte(name))
		d.Write(b[:])
	}
	return [sha256.Size]byte(d.Sum(nil))
}

// recover writes a state into a directory and takes the log there through all
// that it must survive: verdict, recovery, appends, sync, close, and back.
func (o *oracle) recover(state durabilitytest.Files) *afterlife {
	root := filepath.Join(o.scratch, "state")
	defer func() {
		if err := os.RemoveAll(root); err != nil {
			o.t.Error(err)
		}
	}()
	if err := state.WriteTo(root); err != nil {
		o.t.Fatal(err)
	}
	dir := filepath.Join(root, logName)
	out := &afterlife{}
	// Looking at a log costs as much as opening it: each fourth state is looked at
	// from all sides.
	all := thorough() || o.distinct%4 == 0
	looked, err := o.look(dir, all)
	switch {
	case errors.Is(err, wal.ErrMissing):
		out.missing = true
	case err != nil:
		out.err = err
		return out
	}
	out.held, out.err = o.reopen(dir, all)
	if out.err == nil && !out.missing && !looked.equal(&out.held) {
		out.err = fmt.Errorf("Dump read records %d to %d, Open recovered %d to %d",
			looked.first, looked.last(), out.first, out.last())
	}
	return out
}

// look judges a log without opening it, and returns its records.
func (o *oracle) look(dir string, all bool) (held, error) {
	h, rep, err := dump(dir)
	if err != nil {
		return h, err
	}
	o.verdicts[rep.Verdict]++
	if rep.Verdict == wal.Damaged {
		return held{}, fmt.Errorf("dump: a legal state is judged damaged: %+v", rep.Damage)
	}
	if !all {
		return h, nil
	}
	rep, err = wal.Verify(dir)
	if err != nil {
		return held{}, fmt.Errorf("verify: %w", err)
	}
	if rep.Verdict == wal.Damaged {
		return held{}, fmt.Errorf("verify: a legal state is judged damaged: %+v", rep.Damage)
	}
	if int(rep.Records) != len(h.sums) || rep.FirstLSN != h.first || rep.LastLSN != h.last() {
		err = fmt.Errorf("verify: %d records, %d to %d; dump: %d to %d", rep.Records, rep.FirstLSN, rep.LastLSN, h.first, h.last())
	}
	return h, err
}

// dump returns a log's records, and how it was judged.
func dump(dir string) (held, *wal.Report, error) {
	var h held
	rep, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		if h.first == 0 {
			h.first = lsn
		}
		return h.add(lsn, p)
	})
	if err != nil {
		return h, rep, fmt.Errorf("dump: %w", err)
	}
	if h.first == 0 {
		h.first = rep.FirstLSN
	}
	if h.first != rep.FirstLSN {
		return h, rep, fmt.Errorf("dump: the first record is %d, the report says %d", h.first, rep.FirstLSN)
	}
	return h, rep, nil
}

// read returns an open log's records.
func read(l *wal.Log) (held, error) {
	h := held{first: l.FirstLSN()}
	r := l.Reader(0)
	defer r.Close()
	for r.Next() {
		if err := h.add(r.LSN(), r.Record()); err != nil {
			return h, fmt.Errorf("reader: %w", err)
		}
	}
	if r.Err() != nil {
		return h, fmt.Errorf("reader: %w", r.Err())
	}
	if l.LastLSN() != h.last() {
		return h, fmt.Errorf("reader: records up to %d of %d", h.last(), l.LastLSN())
	}
	return h, nil
}

// reopen recovers the log and makes it go on: it must append, sync, close,
// verify clean, and hold what was recovered and what was appended since.
func (o *oracle) reopen(dir string, check bool) (held, error) {
	l, err := wal.Open(dir, o.opts)
	if err != nil {
		return held{}, fmt.Errorf("open: %w", err)
	}
	recovered, err := read(l)
	all, aerr := o.goOn(l, recovered)
	err = errors.Join(err, aerr)
	if cerr := l.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close: %w", cerr))
	}
	if err != nil || !check {
		return recovered, err
	}
	rep, err := wal.Verify(dir)
	if err != nil {
		return recovered, fmt.Errorf("verify after recovery: %w", err)
	}
	if rep.Verdict != wal.Clean || rep.DurableLSN != all.last() {
		return recovered, fmt.Errorf("verify after recovery: %v, durable %d of %d: %+v", rep.Verdict, rep.DurableLSN, all.last(), rep.Damage)
	}
	now, _, err := dump(dir)
	if err == nil && !now.equal(&all) {
		err = fmt.Errorf("recovered records up to %d, appended up to %d, but the log holds %d to %d", recovered.last(), all.last(), now.first, now.last())
	}
	return recovered, err
}

// goOn appends to a recovered log.
func (o *oracle) goOn(l *wal.Log, recovered held) (held, error) {
	all := held{recovered.first, slices.Clone(recovered.sums)}
	if l.DurableLSN() != l.LastLSN() {
		return all, fmt.Errorf("open: durable %d of %d", l.DurableLSN(), l.LastLSN())
	}
	one, two := []byte("appended behind a recovery"), make([]byte, 700)
	for _, p := range [][]byte{one, two, {}} {
		if _, err := l.Append(p); err != nil {
			return all, fmt.Errorf("append after recovery: %w", err)
		}
		all.sums = append(all.sums, maphash.Bytes(sumSeed, p))
	}
	if err := l.Sync(); err != nil {
		return all, fmt.Errorf("sync after recovery: %w", err)
	}
	if _, err := l.AppendBatch([][]byte{two, one}); err != nil {
		return all, fmt.Errorf("append after recovery: %w", err)
	}
	all.sums = append(all.sums, maphash.Bytes(sumSeed, two), maphash.Bytes(sumSeed, one))
	now, err := read(l)
	if err == nil && !now.equal(&all) {
		err = fmt.Errorf("read records up to %d of %d behind a recovery", now.last(), all.last())
	}
	return all, err
}

// crashes calls fn with states that a crash after the first at events leaves:
// all dropped, all kept, some mixed, and the death of the process with the last
// store torn at several places.
func (f *life) crashes(at, mixed int, fn func(crash)) {
	if !thorough() {
		mixed = (mixed + 1) / 2
	}
	m := f.known(at)
	lost := func(mode durabilitytest.CrashMode, name string, seed uint64) {
		fn(crash{
			state: f.rec.CrashAs(mode, f.root, at, rand.New(rand.NewPCG(seed, 1))), mark: m,
			words: func() string {
				return fmt.Sprintf("power loss after %d of %d events, %s, choices %d:\n%s", at, f.rec.Len(), name, seed, f.describe(at))
			},
		})
	}
	lost(durabilitytest.Drop, "drop", 0)
	lost(durabilitytest.Keep, "keep", 0)
	for range mixed {
		lost(durabilitytest.Mix, "mix", f.rng.Uint64())
	}
	torn := []int{1 << 30}
	if e := f.event(at); isTearable(e) {
		n := len(e.Data) + len(e.Data2)
		torn = append(torn, 0, f.rng.IntN(n+1))
	}
	for _, n := range torn {
		fn(crash{
			state: f.rec.Killed(f.root, at, n), mark: m, killed: true,
			words: func() string {
				return fmt.Sprintf("killed after %d of %d events, the last store torn at %d:\n%s", at, f.rec.Len(), n, f.describe(at))
			},
		})
	}
}

// event returns the event before a crash.
func (f *life) event(at int) durability.Event {
	if at == 0 {
		return durability.Event{}
	}
	if len(f.events) != f.rec.Len() {
		f.events = f.rec.Events()
	}
	return f.events[at-1]
}
