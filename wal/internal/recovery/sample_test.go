package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// memory is a segment's file in memory. What Load returns is garbage but for
// the ranges that were touched.
type memory struct {
	bytes   []byte
	loaded  []byte
	loads   int
	touched int64 // bytes
	fail    error // of Touch

	pages map[int64]bool // of 4 KiB, that are readable
	most  int            // of them at once
}

// Head implements recovery.Bytes.
func (m *memory) Head() ([]byte, error) { return m.bytes[:min(len(m.bytes), frame.DataOffset)], nil }

// Load implements recovery.Bytes.
func (m *memory) Load() ([]byte, error) {
	m.loads++
	m.loaded = bytes.Repeat([]byte{0xa5}, len(m.bytes))
	return m.loaded, nil
}

// Touch implements recovery.Bytes.
func (m *memory) Touch(from, to int64) error {
	if m.fail != nil {
		return m.fail
	}
	if m.loaded == nil || from < 0 || from > to || to > int64(len(m.bytes)) {
		panic(fmt.Sprintf("touched %d to %d of %d bytes, loaded %v", from, to, len(m.bytes), m.loaded != nil))
	}
	m.touched += to - from
	if m.pages == nil {
		m.pages = make(map[int64]bool)
	}
	for page := from / 4096; page*4096 < to; page++ {
		m.pages[page] = true
	}
	m.most = max(m.most, len(m.pages))
	copy(m.loaded[from:to], m.bytes[from:to])
	return nil
}

// Release implements recovery.Bytes.
func (m *memory) Release(from, to int64) {
	for i := from; i < to; i++ {
		m.loaded[i] = 0xa5
	}
	for page := (from + 4095) / 4096; (page+1)*4096 <= to || page*4096 < to && to == int64(len(m.bytes)); page++ {
		delete(m.pages, page)
	}
}

// Unload implements recovery.Bytes.
func (m *memory) Unload() {
	for i := range m.loaded {
		m.loaded[i] = 0x5a // a reader that goes on reads nonsense
	}
	m.loaded, m.pages = nil, nil
}

// sample is a log that is made in memory.
type sample struct {
	uuid     frame.UUID
	segments [][]byte
	temp     map[int]bool           // by index
	records  map[frame.LSN][][]byte // all that ever had that LSN
	ends     map[frame.LSN]bool     // last records of batches
	places   []spot                 // of all frames

	seed    frame.Seed
	off     int64
	link    frame.Link
	lsn     frame.LSN
	epoch   uint32
	cut     frame.Cut
	front   frame.LSN
	durable frame.LSN
	counter uint64
	buf     frame.Buffer

	size int64 // of a segment; 0 is the least
}

// spot is where a frame lies.
type spot struct {
	segment int
	off     int64
	frame.Frame
}

// newSample makes a log with one segment, whose first record gets that LSN.
func newSample(first frame.LSN) *sample {
	s := &sample{
		uuid: frame.UUID{1, 2, 3}, temp: map[int]bool{}, records: map[frame.LSN][][]byte{},
		ends: map[frame.LSN]bool{first - 1: true}, lsn: first - 1, front: first, durable: first - 1, epoch: 1,
	}
	s.rotate()
	return s
}

// header makes the header of the segment with that index.
func (s *sample) header(i int) frame.Header {
	return frame.Header{
		UUID: s.uuid, Ordinal: uint64(i + 1), SegmentBytes: max(s.size, frame.MinSegmentBytes),
		Salt: 77 + uint64(i), Epoch: s.epoch, FillBytes: 4096,
	}
}

// prepare adds a segment without a stamp.
func (s *sample) prepare() frame.Header {
	h := s.header(len(s.segments))
	data := make([]byte, h.SegmentBytes)
	b := h.Encode()
	copy(data, b[:])
	s.segments = append(s.segments, data)
	return h
}

// rotate goes on in a new segment.
func (s *sample) rotate() {
	h := s.prepare()
	st := frame.Stamp{
		UUID: s.uuid, Ordinal: h.Ordinal, Salt: h.Salt, First: s.lsn + 1, Previous: s.link,
		Epoch: s.epoch, Cut: s.cut, Front: s.front, Watermark: s.durable,
	}
	b, link := st.Encode()
	copy(s.tail()[frame.StampOffset:], b[:])
	s.seed, s.off, s.link = h.Seed(), frame.DataOffset, link
}

// tail returns the bytes of the last segment.
func (s *sample) tail() []byte { return s.segments[len(s.segments)-1] }

// batch appends records as one batch.
func (s *sample) batch(payloads ...[]byte) {
	for i, p := range payloads {
		f := frame.Frame{
			Length: uint32(len(p)), PayloadCRC: frame.Checksum(p), LSN: s.lsn + 1, Epoch: s.epoch,
			Distance: frame.Distance(s.lsn+1, s.durable), Kind: frame.KindRecord,
			First: i == 0, Last: i == len(payloads)-1,
		}
		s.note(f, p)
		s.put(f, p)
	}
}

// note notes a record that is appended.
func (s *sample) note(f frame.Frame, p []byte) {
	s.records[f.LSN] = append(s.records[f.LSN], bytes.Clone(p))
	s.ends[f.LSN] = s.ends[f.LSN] || f.Last
}

// mark appends a frame that names the watermark.
func (s *sample) mark() {
	var b [frame.MarkBytes]byte
	p := frame.PutMark(&b, s.durable)
	s.put(frame.Frame{
		Length: uint32(len(p)), PayloadCRC: frame.Checksum(p), LSN: s.lsn, Epoch: s.epoch, Kind: frame.KindMark,
	}, p)
}

// put stores a frame, whatever it says.
func (s *sample) put(f frame.Frame, p []byte) {
	h, link := s.buf.Encode(&f, s.seed, s.link, s.off)
	copy(s.tail()[s.off:], h)
	copy(s.tail()[s.off+frame.HeaderBytes:], p)
	f.Link = link
	s.places = append(s.places, spot{len(s.segments) - 1, s.off, f})
	s.off, s.link, s.lsn = s.off+f.Size(), link, f.LSN
}

// sync makes all that was appended durable.
func (s *sample) sync() { s.durable = s.lsn }

// slot writes a checkpoint record that names what is durable.
func (s *sample) slot() {
	s.counter++
	sl := frame.Slot{
		Counter: s.counter, Epoch: s.epoch, Link: s.link, Cut: s.cut, Front: s.front,
		Watermark: s.durable, Tail: uint64(s.off),
	}
	b := sl.Encode(s.seed)
	copy(s.tail()[frame.SlotOffset+int(s.counter%frame.Slots)*frame.BlockBytes:], b[:])
}

// cutAt begins the next epoch behind a frame of the last segment, with the slot
// that says so, and leaves what lay there.
func (s *sample) cutAt(p spot) {
	s.off, s.link, s.lsn = p.off+p.Size(), p.Link, p.LSN
	s.epoch++
	s.durable = p.LSN
	s.cut = frame.Cut{Ordinal: uint64(len(s.segments)), Offset: uint64(s.off), LSN: p.LSN}
	s.slot()
}

// files returns the log as recovery is given it.
func (s *sample) files() ([]recovery.File, []*memory) {
	var (
		files []recovery.File
		mems  []*memory
	)
	for i, data := range s.segments {
		m := &memory{bytes: data}
		name := fmt.Sprintf("%016x.wal", i+1)
		if s.temp[i] {
			name = fmt.Sprintf("%016x.tmp", i+1)
		}
		mems = append(mems, m)
		files = append(files, recovery.File{
			Name: name, Ordinal: uint64(i + 1), Temp: s.temp[i], Size: int64(len(data)), Bytes: m,
		})
	}
	return files, mems
}

// recovered is a result with the records that it came with.
type recovered struct {
	*recovery.Result
	seen []recovery.Record
}

// recover recovers the log, and fails if a record was not appended, or a batch is
// not whole.
func (s *sample) recover(t testing.TB, o recovery.Options) recovered {
	t.Helper()
	j, err := s.try(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// errWrong reports a record that was not appended.
var errWrong = errors.New("not what was appended")

// try is recover for files of which nothing is known.
func (s *sample) try(o recovery.Options) (recovered, error) {
	var (
		files, mems = s.files()
		j           recovered
	)
	check := func(r recovery.Record) error {
		if slices.ContainsFunc(s.records[r.LSN], func(p []byte) bool { return bytes.Equal(p, r.Payload) }) {
			return nil
		}
		return fmt.Errorf("%w: record %d at %d of segment %d: %.40x, want one of %.40x",
			errWrong, r.LSN, r.Offset, r.Segment, r.Payload, s.records[r.LSN])
	}
	o.Visit = func(r recovery.Record) error {
		if n := len(j.seen); n > 0 && j.seen[n-1].LSN+1 != r.LSN {
			return fmt.Errorf("%w: record %d behind %d", errWrong, r.LSN, j.seen[n-1].LSN)
		}
		j.seen = append(j.seen, r)
		return check(r)
	}
	o.Behind = check
	res, err := recovery.Recover(files, o)
	if err != nil {
		return j, err
	}
	for i, m := range mems {
		if m.loaded != nil {
			return j, fmt.Errorf("%s was not unloaded", files[i].Name)
		}
	}
	j.Result = res
	if n := len(j.seen); n > 0 && !s.ends[j.seen[n-1].LSN] {
		return j, fmt.Errorf("%w: half a batch, up to %d", errWrong, j.seen[n-1].LSN)
	}
	return j, nil
}
