//go:build linux

package kill

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// sumSeed makes the checksums of one process comparable.
var sumSeed = maphash.MakeSeed()

// logFound is what a death left of a log.
type logFound struct {
	subject *logSubject
	first   wal.LSN
	records []foundRecord
	bytes   int64  // of its records
	tail    []byte // what lies behind the last frame
}

// foundRecord is a record that is there.
type foundRecord struct {
	sum    uint64
	number uint64 // that it names, if it is of several writers
}

// last returns the last LSN.
func (f *logFound) last() wal.LSN { return f.first + wal.LSN(len(f.records)) - 1 }

// add notes the next record.
func (f *logFound) add(lsn wal.LSN, p []byte) error {
	if len(f.records) == 0 {
		f.first = lsn
	}
	if lsn != f.first+wal.LSN(len(f.records)) {
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("record %d follows record %d", lsn, f.last())}
	}
	r := foundRecord{sum: maphash.Bytes(sumSeed, p)}
	if len(p) >= 8 {
		r.number = binary.LittleEndian.Uint64(p)
	}
	f.records = append(f.records, r)
	f.bytes += int64(len(p))
	return nil
}

// Look implements Looker: what Dump, which writes nothing, finds.
func (s *logSubject) Look(dir string) (campaign.Found, error) { return s.look(dir) }

func (s *logSubject) look(dir string) (*logFound, error) {
	f := &logFound{subject: s, first: 1}
	rep, err := wal.Dump(dir, wal.DumpOptions{}, f.add)
	switch {
	case errors.Is(err, wal.ErrMissing):
		return f, nil
	case err != nil:
		return nil, asBroken(err, "Dump: ")
	case rep.Verdict == wal.Damaged:
		return nil, &campaign.Broken{Kind: campaign.Misjudged, Clause: "C5", What: fmt.Sprintf("the death of a process is judged damage: %+v", rep.Damage)}
	}
	f.first = rep.FirstLSN
	if rep.LastLSN != f.last() {
		return nil, &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("Dump says that the last record is %d, and ends with %d", rep.LastLSN, f.last())}
	}
	f.tail, err = tailOf(rep)
	return f, err
}

// asBroken returns an error's *campaign.Broken, or one that says that what a
// death left is refused.
func asBroken(err error, what string) *campaign.Broken {
	b := campaign.AsBroken(err, campaign.Misjudged)
	if b.Clause == "" {
		b.Clause, b.What = "C5", what+b.What
	}
	return b
}

// tailOf returns what lies behind the last frame of the last segment in use.
func tailOf(rep *wal.Report) ([]byte, error) {
	for i := len(rep.Segments) - 1; i >= 0; i-- {
		s := rep.Segments[i]
		if s.State != "active" && s.State != "torn" {
			continue
		}
		file, err := os.Open(filepath.Join(rep.Dir, s.Name))
		if err != nil {
			return nil, err
		}
		tail, err := io.ReadAll(io.NewSectionReader(file, max(s.Bytes, frame.DataOffset), logSegment))
		return bytes.TrimRight(tail, "\x00"), errors.Join(err, file.Close())
	}
	return nil, nil
}

// Recover implements campaign.Subject: it looks, opens the log, and compares.
func (s *logSubject) Recover(dir string) (campaign.Found, error) {
	f, err := s.look(dir)
	if err != nil {
		return nil, err
	}
	l, err := wal.Open(dir, wal.Options{SegmentBytes: logSegment, SegmentsAhead: 1})
	if err != nil {
		return nil, asBroken(err, "Open: ")
	}
	if err = errors.Join(f.compare(l), l.Close()); err != nil {
		return nil, err
	}
	return f, nil
}

// compare compares with an open log.
func (f *logFound) compare(l *wal.Log) error {
	differ := func(format string, args ...any) error {
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: "Dump and Open differ: " + fmt.Sprintf(format, args...)}
	}
	if l.FirstLSN() != f.first || l.LastLSN() != f.last() {
		return differ("records %d to %d, and %d to %d", f.first, f.last(), l.FirstLSN(), l.LastLSN())
	}
	if l.DurableLSN() != l.LastLSN() {
		return &campaign.Broken{Kind: campaign.Lost, Clause: "C4", What: fmt.Sprintf("Open returned with record %d durable of %d", l.DurableLSN(), l.LastLSN())}
	}
	opened := &logFound{first: f.first}
	if err := opened.read(l); err != nil {
		return err
	}
	if len(opened.records) != len(f.records) {
		return differ("%d records, and %d", len(f.records), len(opened.records))
	}
	for i, rec := range f.records {
		if opened.records[i] != rec {
			return differ("in record %d", f.first+wal.LSN(i))
		}
	}
	return nil
}

// read notes the records of an open log.
func (f *logFound) read(l *wal.Log) error {
	r := l.Reader(0)
	for r.Next() {
		if err := f.add(r.LSN(), r.Record()); err != nil {
			return errors.Join(err, r.Close())
		}
	}
	if err := errors.Join(r.Err(), r.Close()); err != nil {
		return asBroken(err, "Reader: ")
	}
	return nil
}

// Present implements campaign.Found.
func (f *logFound) Present(k campaign.Known, _ bool) error { return f.only(k, campaign.Lost) }

// Legal implements campaign.Found.
func (f *logFound) Legal(k campaign.Known, _ bool) error { return f.only(k, campaign.Illegal) }

// only returns what is broken in the way of the given kind.
func (f *logFound) only(k campaign.Known, kind campaign.Kind) error {
	judge := f.judge
	if f.subject != nil && f.subject.judge != nil {
		judge = func(k *logKnown) *campaign.Broken { return f.subject.judge(k, f) }
	}
	if b := judge(newLogKnown(k)); b != nil && b.Kind == kind {
		return b
	}
	return nil
}

// judge returns what is broken. Where a cut is under way, the log is wholly what
// it was or what it was to be.
func (f *logFound) judge(k *logKnown) *campaign.Broken {
	was := f.against(k)
	if was == nil || k.cut == cutNone {
		return was
	}
	to := *k
	switch k.cut {
	case cutFront:
		to.first = k.cutTo
	case cutBack:
		to.begun, to.appended, to.durable = k.cutTo, k.cutTo, k.cutTo
	case cutReset:
		to.first, to.begun, to.appended, to.durable = k.cutTo, k.cutTo-1, k.cutTo-1, k.cutTo-1
	}
	is := f.against(&to)
	if is == nil {
		return nil
	}
	return &campaign.Broken{Kind: was.Kind, Clause: was.Clause, What: fmt.Sprintf(
		"a cut to record %d is under way, and this is neither the old log (%s) nor the new one (%s)", k.cutTo, was.What, is.What)}
}

// against compares with what is known.
func (f *logFound) against(k *logKnown) *campaign.Broken {
	broken := func(kind campaign.Kind, clause campaign.Clause, format string, args ...any) *campaign.Broken {
		return &campaign.Broken{Kind: kind, Clause: clause, What: fmt.Sprintf(format, args...)}
	}
	must, last := max(k.appended, k.durable), f.last()
	switch {
	case f.first > k.first:
		return broken(campaign.Lost, "C1", "the log begins with record %d, not %d", f.first, k.first)
	case f.first < k.first:
		return broken(campaign.Illegal, "C3", "the log begins with record %d, which was cut away: %d is the first", f.first, k.first)
	case last < must:
		return broken(campaign.Lost, "C1", "the log ends with record %d, %d was appended", last, must)
	case last > k.begun:
		return broken(campaign.Illegal, "C3", "the log ends with record %d, only %d were ever begun", last, k.begun)
	case last >= k.batchFrom && last < k.batchTo:
		return broken(campaign.Illegal, "C3", "the log ends with record %d, within the batch %d to %d", last, k.batchFrom, k.batchTo)
	}
	for i, s := range k.spans {
		to := last
		if i+1 < len(k.spans) {
			to = min(to, k.spans[i+1].from-1)
		}
		var w []writer
		if i+1 == len(k.spans) {
			w = k.writers
		}
		if b := f.compareSpan(s, to, w); b != nil {
			return b
		}
	}
	if len(k.spans) > 0 && k.spans[0].from > f.first && len(f.records) > 0 {
		return broken(campaign.Illegal, "C3", "nobody appended record %d", f.first)
	}
	return nil
}

// compareSpan compares the records of a span, up to an LSN, with what they are to
// hold.
func (f *logFound) compareSpan(s span, to wal.LSN, writers []writer) *campaign.Broken {
	have := make(map[uint64]uint64) // records of each writer
	for lsn := max(s.from, f.first); lsn <= to; lsn++ {
		r := f.records[lsn-f.first]
		n := uint64(lsn)
		if s.many {
			n = r.number
			w := n >> 48
			if count, seen := have[w]; (seen || s.from >= f.first) && n != number(int(w), count) {
				return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("record %d is not the next of writer %d", lsn, w)}
			}
			have[w] = n&(1<<48-1) + 1
		}
		if r.sum != maphash.Bytes(sumSeed, s.record(n)) {
			return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("record %d is not what was appended", lsn)}
		}
	}
	for w, known := range writers {
		if n := have[uint64(w)]; s.from >= f.first && n < known.appended {
			return &campaign.Broken{Kind: campaign.Lost, Clause: "C1", What: fmt.Sprintf("of writer %d, %d records are there, %d were appended", w, n, known.appended)}
		} else if n > known.begun {
			return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: fmt.Sprintf("of writer %d, %d records are there, %d were begun", w, n, known.begun)}
		}
	}
	return nil
}

// Recovered implements Survivor.
func (f *logFound) Recovered() uint64 { return uint64(f.last()) }

// Making implements Survivor. The order of several writers is not known, and so
// neither is which record would have been the next.
func (f *logFound) Making(k campaign.Known) (found, of int64) {
	n := newLogKnown(k)
	if len(n.spans) == 0 || n.cut != cutNone {
		return 0, 0
	}
	s, at := n.spans[len(n.spans)-1], int64(0)
	if s.many {
		return 0, 0
	}
	for lsn := max(f.last()+1, s.from); lsn <= n.begun; lsn++ {
		p := s.record(uint64(lsn))
		of += frame.HeaderBytes + int64(len(p))
		if at < int64(len(f.tail)) {
			found += sameBytes(f.tail[at:], p)
		}
		at += frame.Size(int64(len(p)))
	}
	return found, of
}

// sameBytes counts the bytes of a frame that are there. Those of its header are
// taken to be there up to the last one that is not zero.
func sameBytes(b, payload []byte) int64 {
	n := int64(len(bytes.TrimRight(b[:min(len(b), frame.HeaderBytes)], "\x00")))
	for i, c := range b[min(len(b), frame.HeaderBytes):] {
		if i >= len(payload) {
			break
		}
		if c == payload[i] {
			n++
		}
	}
	return n
}
