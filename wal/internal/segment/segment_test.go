package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/segment"
)

const seed = frame.Seed(42)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tracerFunc is a Tracer.
type tracerFunc func(durability.Event)

// Trace implements durability.Tracer.
func (f tracerFunc) Trace(e durability.Event) { f(e) }

// newFile makes a file of the least size that a segment has, and maps it for writing.
func newFile(t *testing.T, tracer durability.Tracer) (*durability.File, *durability.Mapping) {
	t.Helper()
	d, err := durability.OpenDir(t.TempDir(), tracer)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	f, err := d.Create("segment", 0o600)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, f.Truncate(frame.MinSegmentBytes))
	m, err := f.Map(frame.MinSegmentBytes, true)
	must(t, err)
	t.Cleanup(func() { _ = m.Unmap() })
	return f, m
}

// payload returns what a record holds.
func payload(lsn frame.LSN) []byte { return bytes.Repeat([]byte{byte(lsn)}, int(lsn%7)*100) }

// fill stores n records with a watermark behind each third, and returns the places
// before the frames, and the one behind the last.
func fill(t *testing.T, m *durability.Mapping, n int) (places []frame.Place) {
	t.Helper()
	var buf frame.Buffer
	at := frame.Place{Off: frame.DataOffset, Link: 7, LSN: 100, Epoch: 1}
	put := func(f frame.Frame, p []byte) {
		f.Length, f.PayloadCRC, f.Epoch = uint32(len(p)), frame.Checksum(p), 1
		h, link := buf.Encode(&f, seed, at.Link, at.Off)
		f.Link = link
		must(t, m.Store(at.Off, h, p))
		places = append(places, at)
		at = at.Behind(&f)
	}
	for i := range n {
		lsn := at.LSN + 1
		put(frame.Frame{LSN: lsn, Kind: frame.KindRecord, First: true, Last: true}, payload(lsn))
		if i%3 == 2 {
			put(frame.Frame{LSN: lsn, Kind: frame.KindMark}, make([]byte, frame.MarkBytes))
		}
	}
	return append(places, at)
}

// TestCursor finds each record from each place before it, hands it out, and ends where
// the frames end.
func TestCursor(t *testing.T) {
	_, m := newFile(t, nil)
	places := fill(t, m, 20)
	end := places[len(places)-1]
	for _, from := range places {
		for lsn := from.LSN + 1; lsn <= end.LSN; lsn++ {
			var passed []frame.Place
			c := segment.Cursor{Window: 4096, Passed: func(p frame.Place) { passed = append(passed, p) }}
			c.Enter(m, frame.MinSegmentBytes, seed, from)
			must(t, c.Seek(lsn))
			read := map[bool]func() ([]byte, error){true: c.Lend, false: func() ([]byte, error) { return c.Copy(nil) }}[lsn%2 == 0]
			p, err := read()
			if err != nil || !bytes.Equal(p, payload(lsn)) || p == nil || c.LSN != lsn {
				t.Fatalf("record %d from %d on: %x, %v; at %+v", lsn, from.LSN, p, err, c.Place)
			}
			if last := passed[len(passed)-1]; last != c.Place || c.LinkOff <= from.Off || c.LinkOff >= c.Off {
				t.Fatalf("behind record %d: %+v was passed, the link lies at %d", lsn, last, c.LinkOff)
			}
		}
		c := segment.Cursor{Window: 4096}
		c.Enter(m, frame.MinSegmentBytes, seed, from)
		if err := c.Seek(end.LSN + 1); !errors.Is(err, segment.ErrNoFrame) || c.Place != end {
			t.Fatalf("behind the last record: %v, at %+v", err, c.Place)
		}
	}
}

// TestVerify alters each byte of a frame: the check stops in front of it.
func TestVerify(t *testing.T) {
	_, m := newFile(t, nil)
	places := fill(t, m, 9)
	end := places[len(places)-1]
	check := func() (frame.Place, error) {
		c := segment.Cursor{Window: 4096}
		c.Enter(m, frame.MinSegmentBytes, seed, places[0])
		err := c.Verify(end.Off)
		return c.Place, err
	}
	if at, err := check(); err != nil || at != end {
		t.Fatalf("at %+v: %v", at, err)
	}
	for i, victim := range places[:len(places)-1] {
		for _, off := range []int64{0, 4, 8, 12, 16, 20, frame.HeaderBytes} {
			off += victim.Off
			if off >= places[i+1].Off {
				continue // an empty record
			}
			b := m.Bytes()[off]
			must(t, m.Store(off, []byte{b ^ 1}, nil))
			if at, err := check(); !segment.IsBad(err) || at != victim {
				t.Errorf("byte %d of the frame at %d: %v, at %d", off-victim.Off, victim.Off, err, at.Off)
			}
			must(t, m.Store(off, []byte{b}, nil))
		}
	}
}

// TestCursorOfATruncatedFile reads where the file is no more: that is an error.
func TestCursorOfATruncatedFile(t *testing.T) {
	f, m := newFile(t, nil)
	places := fill(t, m, 40)
	c := segment.Cursor{Window: 4096}
	c.Enter(m, frame.MinSegmentBytes, seed, places[0])
	must(t, f.Truncate(frame.DataOffset))
	var fault *durability.FaultError
	if err := c.Seek(110); !errors.As(err, &fault) {
		t.Errorf("seek in a truncated file: %v", err)
	}
}

// TestIndex notes places, finds the last one before a record, and forgets.
func TestIndex(t *testing.T) {
	var x segment.Index
	if x.Ready() || x.Begins() {
		t.Error("an index before Init has places")
	}
	const step = segment.IndexStep
	x.Init(10 * step)
	if _, ok := x.Before(1); ok || !x.Ready() {
		t.Error("an empty index has a place")
	}
	for i := range int64(100) { // each tenth of a step
		x.Add(frame.Place{Off: frame.DataOffset + i*step/10, LSN: frame.LSN(i), Link: frame.Link(i + 1), Epoch: 3})
	}
	if x.Len() != 10 || !x.Begins() {
		t.Fatalf("%d places, the start among them: %v", x.Len(), x.Begins())
	}
	for lsn := frame.LSN(1); lsn < 120; lsn++ {
		want := min((lsn-1)/10*10, 90)
		if p, ok := x.Before(lsn); !ok || p.LSN != want || p.Off != frame.DataOffset+int64(want)*step/10 || p.Link != frame.Link(want+1) || p.Epoch != 3 {
			t.Errorf("before %d: %+v, %v; want %d", lsn, p, ok, want)
		}
	}
	var behind segment.Index
	behind.Init(20 * step)
	for i := range int64(5) {
		behind.Add(frame.Place{Off: frame.DataOffset + (i+8)*step, LSN: frame.LSN(1000 + i)})
	}
	for most, want := range map[int]int{100: 13, 15: 13, 13: 7, 7: 5, 1: 1} {
		m := segment.Merged(most, &x, nil, &behind)
		if m.Len() != want || !m.Begins() {
			t.Errorf("no more than %d: %d places, want %d", most, m.Len(), want)
		}
	}
	x.Truncate(frame.DataOffset + 3*step)
	if p, ok := x.Before(1000); !ok || p.LSN != 30 || x.Len() != 4 {
		t.Errorf("cut at the fourth of %d places: the last is %+v", x.Len(), p)
	}
	if x.Clear(); x.Len() != 0 || !x.Ready() {
		t.Errorf("%d places of an empty index", x.Len())
	}
}

// TestControl stores control blocks and reads them in both ways; a cut is told in the
// order in which readers believe it, the epoch last.
func TestControl(t *testing.T) {
	var stores []int64
	f, m := newFile(t, tracerFunc(func(e durability.Event) {
		if e.Op == durability.OpStore && e.Phase != durability.After {
			stores = append(stores, e.Offset-frame.ControlOffset)
		}
	}))
	want := func(what string, c frame.Control, order ...int64) {
		t.Helper()
		loaded, err := segment.LoadControl(m)
		must(t, err)
		read, err := segment.ReadControl(f)
		must(t, err)
		if loaded != c || read != c || fmt.Sprint(stores) != fmt.Sprint(order) {
			t.Errorf("%s: %+v and %+v, want %+v; stored at %v, want %v", what, loaded, read, c, stores, order)
		}
		stores = nil
	}
	c := frame.Control{Epoch: 1, Front: 2, Appended: 30, Durable: 4}
	must(t, segment.StoreControl(m, &c))
	want("set", c, frame.ControlFront, frame.ControlAppended, frame.ControlDurable, frame.ControlNext, frame.ControlEpoch)
	must(t, m.StoreUint64(segment.AppendedWord, 31))
	segment.StoreDurable(m, 31)
	segment.StoreFront(m, 5)
	segment.StoreNext(m, 9)
	c = frame.Control{Epoch: 1, Front: 5, Appended: 31, Durable: 31, Next: 9}
	want("kept up", c, frame.ControlAppended, frame.ControlDurable, frame.ControlFront, frame.ControlNext)
	c = frame.Control{Epoch: 2, Front: 5, Appended: 20, Durable: 20}
	must(t, segment.LowerControl(m, &c))
	want("lowered", c, frame.ControlAppended, frame.ControlDurable, frame.ControlFront, frame.ControlNext, frame.ControlEpoch)
	must(t, f.Truncate(frame.ControlOffset))
	if got, err := segment.ReadControl(f); err != nil || got != (frame.Control{}) {
		t.Errorf("behind the file's end: %+v, %v", got, err)
	}
}

// TestReadHead reads the head of a segment, and of a file that has none, or half.
func TestReadHead(t *testing.T) {
	f, m := newFile(t, nil)
	hd := frame.Header{UUID: frame.UUID{1}, Ordinal: 4, SegmentBytes: frame.MinSegmentBytes, Salt: 6, Epoch: 2}
	st := frame.Stamp{UUID: hd.UUID, Ordinal: 4, Salt: 6, First: 30, Epoch: 2, Front: 3, Watermark: 20}
	header := hd.Encode()
	stamp, link := st.Encode()
	if h, err := segment.ReadHead(f); err != nil || !errors.Is(h.HeaderErr, frame.ErrZero) {
		t.Errorf("of zeros: %v, %v", h.HeaderErr, err)
	}
	must(t, errors.Join(m.Store(0, header[:], nil), m.Store(frame.StampOffset, stamp[:], nil)))
	if h, err := segment.ReadHead(f); err != nil || h.Header != hd || h.Stamp != st || h.Link != link || h.StampErr != nil {
		t.Errorf("%+v, %v", h, err)
	}
	must(t, f.Truncate(frame.StampOffset+9))
	if h, err := segment.ReadHead(f); err != nil || h.Header != hd || !errors.Is(h.StampErr, frame.ErrInvalid) {
		t.Errorf("of half: %+v, %v", h, err)
	}
}
