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

	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// afterlife is what recovery makes of one content of a directory.
type afterlife struct {
	*seawall.Held
	missing bool  // Verify found no log; Open made one
	err     error // what is wrong, whatever was acknowledged
}

// against compares what was recovered with what was acknowledged and appended, by
// the oracles of crashtest.
func against(h *seawall.Held, m mark, killed bool) error {
	known := m.forOracles()
	return errors.Join(h.Present(known, killed), h.Legal(known, killed))
}

// oracle judges states that crashes leave. Equal content is recovered once;
// what was acknowledged and what was appended is compared for each state.
// What may be there is for the oracles of crashtest to say. The states are recovered
// here: with the options of the test, and from all sides only now and then, since there
// are thousands of them.
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
	err := out.err
	if err == nil {
		err = against(out.Held, c.mark, c.killed)
	}
	if err != nil {
		o.fail(c, err)
	}
	return out
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

// sumSeed makes the checksums of one run comparable. It is another in each run,
// which nothing depends on: the checksums are only compared.
var sumSeed = maphash.MakeSeed()

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
	out.Held, out.err = o.reopen(dir, all)
	if out.err == nil && !out.missing && !looked.Same(out.Held) {
		out.err = fmt.Errorf("Dump read records %d to %d, Open recovered %d to %d",
			looked.First, looked.Last, out.First, out.Last)
	}
	return out
}

// look judges a log without opening it, and returns its records.
func (o *oracle) look(dir string, all bool) (*seawall.Held, error) {
	h, rep, err := dump(dir)
	if err != nil {
		return h, err
	}
	o.verdicts[rep.Verdict]++
	if rep.Verdict == wal.Damaged {
		return h, fmt.Errorf("dump: a legal state is judged damaged: %+v", rep.Damage)
	}
	if !all {
		return h, nil
	}
	rep, err = wal.Verify(dir)
	if err != nil {
		return h, fmt.Errorf("verify: %w", err)
	}
	if rep.Verdict == wal.Damaged {
		return h, fmt.Errorf("verify: a legal state is judged damaged: %+v", rep.Damage)
	}
	if int(rep.Records) != h.Count() || rep.FirstLSN != h.First || rep.LastLSN != h.Last {
		err = fmt.Errorf("verify: %d records, %d to %d; dump: %d to %d", rep.Records, rep.FirstLSN, rep.LastLSN, h.First, h.Last)
	}
	return h, err
}

// dump returns a log's records, and how it was judged.
func dump(dir string) (*seawall.Held, *wal.Report, error) {
	h := &seawall.Held{}
	rep, err := wal.Dump(dir, wal.DumpOptions{}, h.Add)
	if err == nil {
		err = h.FinishAll(rep.FirstLSN, rep.LastLSN)
	}
	if err != nil {
		return h, rep, fmt.Errorf("dump: %w", err)
	}
	return h, rep, nil
}

// reopen recovers the log and makes it go on: it must append, sync, close,
// verify clean, and hold what was recovered and what was appended since.
func (o *oracle) reopen(dir string, check bool) (*seawall.Held, error) {
	l, err := wal.Open(dir, o.opts)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	recovered, err := seawall.ReadOpen(l)
	var all *seawall.Held
	if err == nil {
		all, err = goOn(l, *recovered)
	}
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
	if rep.Verdict != wal.Clean || rep.DurableLSN != all.Last {
		return recovered, fmt.Errorf("verify after recovery: %v, durable %d of %d: %+v", rep.Verdict, rep.DurableLSN, all.Last, rep.Damage)
	}
	now, _, err := dump(dir)
	if err == nil && !now.Same(all) {
		err = fmt.Errorf("recovered records up to %d, appended up to %d, but the log holds %d to %d", recovered.Last, all.Last, now.First, now.Last)
	}
	return recovered, err
}

// goOn appends to a recovered log.
func goOn(l *wal.Log, recovered seawall.Held) (*seawall.Held, error) {
	all := &recovered
	if l.DurableLSN() != l.LastLSN() {
		return all, fmt.Errorf("open: durable %d of %d", l.DurableLSN(), l.LastLSN())
	}
	one, two := []byte("appended behind a recovery"), make([]byte, 700)
	for _, p := range [][]byte{one, two, {}} {
		lsn, err := l.Append(p)
		if err == nil {
			err = all.Add(lsn, p)
		}
		if err != nil {
			return all, fmt.Errorf("append after recovery: %w", err)
		}
	}
	if err := l.Sync(); err != nil {
		return all, fmt.Errorf("sync after recovery: %w", err)
	}
	lsn, err := l.AppendBatch([][]byte{two, one})
	if err == nil {
		err = errors.Join(all.Add(lsn-1, two), all.Add(lsn, one))
	}
	if err != nil {
		return all, fmt.Errorf("append after recovery: %w", err)
	}
	now, err := seawall.ReadOpen(l)
	if err == nil && !now.Same(all) {
		err = fmt.Errorf("read records up to %d of %d behind a recovery", now.Last, all.Last)
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
