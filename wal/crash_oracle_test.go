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
	records []uint64 // checksums of what it returns
	missing bool     // Verify found no log; Open made one
	err     error    // what is wrong, whatever was acknowledged
}

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
func (out *afterlife) against(m mark, killed bool) error {
	n := wal.LSN(len(out.records))
	must := m.durable
	if killed {
		must = max(must, m.appended)
	}
	switch {
	case n < must:
		return fmt.Errorf("lost: recovered %d records, %d were acknowledged", n, must)
	case int(n) > len(m.records):
		return fmt.Errorf("phantom: recovered %d records, %d were appended", n, len(m.records))
	}
	for i, sum := range out.records {
		if sum != m.records[i].sum {
			return fmt.Errorf("record %d is not what was appended", i+1)
		}
	}
	if n > 0 && int(n) < len(m.records) && m.records[n-1].batch != 0 && m.records[n-1].batch == m.records[n].batch {
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
	o.t.Fatalf("%v\nrecords begun %d, appended %d, durable %d, killed %v\n%sstate kept in %s (%v), %s",
		err, len(c.mark.records), c.mark.appended, c.mark.durable, c.killed, c.words(), dir, derr, sizes(c.state))
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
	looked, err := o.look(dir)
	switch {
	case errors.Is(err, wal.ErrMissing):
		out.missing = true
	case err != nil:
		out.err = err
		return out
	}
	out.records, out.err = o.reopen(dir)
	if out.err == nil && !slices.Equal(looked, out.records) {
		out.err = fmt.Errorf("Dump read %d records, Open recovered %d", len(looked), len(out.records))
	}
	return out
}

// look judges a log without opening it, and returns the checksums of its records.
func (o *oracle) look(dir string) ([]uint64, error) {
	rep, err := wal.Verify(dir)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	o.verdicts[rep.Verdict]++
	if rep.Verdict == wal.Damaged {
		return nil, fmt.Errorf("verify: a legal state is judged damaged: %+v", rep.Damage)
	}
	sums, err := dump(dir)
	if err == nil && (int(rep.Records) != len(sums) || int(rep.LastLSN) != len(sums)) {
		err = fmt.Errorf("verify: %d records up to %d, dump: %d", rep.Records, rep.LastLSN, len(sums))
	}
	return sums, err
}

// dump returns the checksums of a log's records.
func dump(dir string) ([]uint64, error) {
	var sums []uint64
	_, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		if int(lsn) != len(sums)+1 {
			return fmt.Errorf("dump: record %d where %d should be", lsn, len(sums)+1)
		}
		sums = append(sums, maphash.Bytes(sumSeed, p))
		return nil
	})
	return sums, err
}

// read returns the checksums of an open log's records.
func read(l *wal.Log) ([]uint64, error) {
	var sums []uint64
	r := l.Reader(0)
	defer r.Close()
	for r.Next() {
		if int(r.LSN()) != len(sums)+1 {
			return nil, fmt.Errorf("reader: record %d where %d should be", r.LSN(), len(sums)+1)
		}
		sums = append(sums, maphash.Bytes(sumSeed, r.Record()))
	}
	if r.Err() != nil {
		return nil, fmt.Errorf("reader: %w", r.Err())
	}
	if int(l.LastLSN()) != len(sums) {
		return nil, fmt.Errorf("reader: %d records of %d", len(sums), l.LastLSN())
	}
	return sums, nil
}

// reopen recovers the log and makes it go on: it must append, sync, close,
// verify clean, and hold what was recovered and what was appended since.
func (o *oracle) reopen(dir string) ([]uint64, error) {
	l, err := wal.Open(dir, o.opts)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	recovered, err := read(l)
	all, aerr := o.goOn(l, recovered)
	err = errors.Join(err, aerr)
	if cerr := l.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close: %w", cerr))
	}
	if err != nil {
		return recovered, err
	}
	rep, err := wal.Verify(dir)
	if err != nil {
		return recovered, fmt.Errorf("verify after recovery: %w", err)
	}
	if rep.Verdict != wal.Clean || int(rep.DurableLSN) != len(all) {
		return recovered, fmt.Errorf("verify after recovery: %v, durable %d of %d: %+v", rep.Verdict, rep.DurableLSN, len(all), rep.Damage)
	}
	held, err := dump(dir)
	if err == nil && !slices.Equal(held, all) {
		err = fmt.Errorf("recovered %d records, appended up to %d, but the log holds %d", len(recovered), len(all), len(held))
	}
	return recovered, err
}

// goOn appends to a recovered log.
func (o *oracle) goOn(l *wal.Log, recovered []uint64) ([]uint64, error) {
	all := slices.Clone(recovered)
	if l.DurableLSN() != l.LastLSN() {
		return nil, fmt.Errorf("open: durable %d of %d", l.DurableLSN(), l.LastLSN())
	}
	one, two := []byte("appended behind a recovery"), make([]byte, 700)
	for _, p := range [][]byte{one, two, {}} {
		if _, err := l.Append(p); err != nil {
			return nil, fmt.Errorf("append after recovery: %w", err)
		}
		all = append(all, maphash.Bytes(sumSeed, p))
	}
	if err := l.Sync(); err != nil {
		return nil, fmt.Errorf("sync after recovery: %w", err)
	}
	if _, err := l.AppendBatch([][]byte{two, one}); err != nil {
		return nil, fmt.Errorf("append after recovery: %w", err)
	}
	all = append(all, maphash.Bytes(sumSeed, two), maphash.Bytes(sumSeed, one))
	held, err := read(l)
	if err == nil && !slices.Equal(held, all) {
		err = fmt.Errorf("read %d of %d records behind a recovery", len(held), len(all))
	}
	return all, err
}

// crashes calls fn with states that a crash after the first at events leaves:
// all dropped, all kept, some mixed, and the death of the process with the last
// store torn at several places.
func (f *life) crashes(at, mixed int, fn func(crash)) {
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
