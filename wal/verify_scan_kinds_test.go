package wal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// betweenLook is a kind of look at a shifting log. begin prepares it, and
// returns the look, which checks what it sees. Where that leaves a LogReader, it
// is looked at again when nothing changes any more.
type betweenLook struct {
	name  string
	begin func(*shifting) func() (*wal.LogReader, error)
}

// once is a look without preparations.
func once(do func(*shifting) error) func(*shifting) func() (*wal.LogReader, error) {
	return func(s *shifting) func() (*wal.LogReader, error) {
		return func() (*wal.LogReader, error) { return nil, do(s) }
	}
}

// kept is a look of a LogReader that was opened before, and has read all if read
// is set.
func kept(read bool, do func(*shifting, *wal.LogReader) error) func(*shifting) func() (*wal.LogReader, error) {
	return func(s *shifting) func() (*wal.LogReader, error) {
		o := openReader(s.t, s.dir)
		if read {
			if err := s.readAll(o); err != nil {
				s.t.Fatal(err)
			}
		}
		return func() (*wal.LogReader, error) { return o, do(s, o) }
	}
}

var betweenLooks = []betweenLook{
	{"verify", once(func(s *shifting) error { return s.verified(wal.VerifyOptions{}) })},
	{"verify the device", once(func(s *shifting) error { return s.verified(wal.VerifyOptions{Device: true}) })},
	{"dump", once((*shifting).dumps)},
	{"inspect", once((*shifting).inspected)},
	{"open", func(s *shifting) func() (*wal.LogReader, error) {
		return func() (*wal.LogReader, error) {
			o, err := wal.OpenReader(s.dir)
			if err != nil {
				return nil, err
			}
			s.t.Cleanup(func() { _ = o.Close() })
			return o, s.readAll(o)
		}
	}},
	{"read", kept(false, (*shifting).readAll)},
	{"read again", kept(true, (*shifting).readAll)},
	{"get", kept(false, func(s *shifting, o *wal.LogReader) error {
		for lsn := wal.LSN(1); lsn < 12; lsn += 3 {
			if err := s.gets(o, lsn); err != nil {
				return err
			}
		}
		return nil
	})},
	{"follow", kept(false, (*shifting).follows)},
}

// wasHeld returns an error where a record was not in the log since the look
// began.
func (s *shifting) wasHeld(lsn wal.LSN, p []byte) (uint64, error) {
	if len(p) != betweenBytes {
		return 0, fmt.Errorf("record %d has %d bytes", lsn, len(p))
	}
	generation := binary.LittleEndian.Uint64(p)
	if !bytes.Equal(p, betweenRecord(generation, lsn)) {
		return 0, fmt.Errorf("record %d of generation %d is not what was appended", lsn, generation)
	}
	for _, st := range s.since() {
		if g, ok := st.generations[lsn]; ok && g == generation {
			return generation, nil
		}
	}
	return 0, fmt.Errorf("record %d of generation %d was not in the log", lsn, generation)
}

// wasSo returns an error where the log never began and ended so. What a look
// passes first may go before it comes to the end: the end may be a later one,
// unless there was a cut at the end in between.
func (s *shifting) wasSo(what string, first, last wal.LSN) error {
	all := s.since()
	for i, st := range all {
		for _, later := range all[i:] {
			if st.first == first && later.last == last && later.generation == st.generation {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: %d to %d, which never was so; now it is %d to %d", what, first, last, s.end().first, s.end().last)
}

// wasCut says whether an error is one that a cut explains.
func (s *shifting) wasCut(err error) bool {
	if !errors.Is(err, wal.ErrTruncated) {
		return false
	}
	all := s.since()
	return slices.ContainsFunc(all, func(st betweenState) bool {
		return st.first != all[0].first || st.generation != all[0].generation
	})
}

func (s *shifting) verified(o wal.VerifyOptions) error {
	rep, err := wal.VerifyWith(s.dir, o)
	if err == nil {
		err = s.reported(rep)
	}
	return err
}

// reported checks a report.
func (s *shifting) reported(rep *wal.Report) error {
	if rep.Verdict != wal.Clean || len(rep.Damage) > 0 {
		return fmt.Errorf("%v: %+v", rep.Verdict, rep.Damage)
	}
	return s.wasSo("report", rep.FirstLSN, rep.LastLSN)
}

func (s *shifting) dumps() error {
	last, generation := wal.LSN(0), uint64(0)
	rep, err := wal.Dump(s.dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		g, err := s.wasHeld(lsn, p)
		if err == nil && (lsn <= last || g < generation) {
			err = fmt.Errorf("record %d of generation %d behind %d of %d", lsn, g, last, generation)
		}
		last, generation = lsn, g
		return err
	})
	if s.wasCut(err) {
		return nil
	}
	if err == nil {
		err = s.reported(rep)
	}
	return err
}

func (s *shifting) inspected() error {
	in, err := wal.Inspect(s.dir)
	if err != nil {
		return err
	}
	if len(in.Damage) > 0 {
		return fmt.Errorf("inspect: %+v", in.Damage)
	}
	return s.wasSo("inspect", in.FirstLSN, in.LastLSN)
}

// readAll reads from the front to the end.
func (s *shifting) readAll(o *wal.LogReader) error {
	r := o.Reader(0)
	last, generation := wal.LSN(0), uint64(0)
	for r.Next() {
		g, err := s.wasHeld(r.LSN(), r.Record())
		if err == nil && (last != 0 && r.LSN() != last+1 || g < generation) {
			err = fmt.Errorf("record %d of generation %d behind %d of %d", r.LSN(), g, last, generation)
		}
		if err != nil {
			return err
		}
		last, generation = r.LSN(), g
	}
	if err := r.Close(); err != nil && !s.wasCut(err) {
		return err
	}
	return nil
}

// gets gets a record.
func (s *shifting) gets(o *wal.LogReader, lsn wal.LSN) error {
	p, err := o.Get(lsn)
	switch {
	case err == nil:
		_, err = s.wasHeld(lsn, p)
		return err
	case !errors.Is(err, wal.ErrTruncated) && !errors.Is(err, wal.ErrNotFound):
		return err
	}
	for _, st := range s.since() {
		if lsn < st.first && errors.Is(err, wal.ErrTruncated) || lsn > st.last && errors.Is(err, wal.ErrNotFound) {
			return nil
		}
	}
	return err
}

// follows follows up to the log's end, and waits there for a moment.
func (s *shifting) follows(o *wal.LogReader) error {
	for {
		r, err := o.Reader(0), error(nil)
		for waits := 0; r.LSN() < s.end().last && s.end().first <= s.end().last; {
			ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Millisecond)
			ok := r.Follow(ctx)
			cancel()
			if waits++; ok {
				waits = 0
				_, err = s.wasHeld(r.LSN(), r.Record())
			} else if !errors.Is(r.Err(), context.DeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if waits > 2000 {
				return fmt.Errorf("waits behind record %d for %d", r.LSN(), s.end().last)
			}
		}
		if err = r.Close(); err == nil || !s.wasCut(err) {
			return err
		}
	}
}

// settled returns an error unless a LogReader, now that nothing changes any
// more, has the log as it is.
func (s *shifting) settled(o *wal.LogReader) error {
	want := s.end()
	if first, last := o.FirstLSN(), o.LastLSN(); first != want.first || last != want.last || o.Verdict() != wal.Clean {
		return fmt.Errorf("in the end: %d to %d, %v; the log has %d to %d", first, last, o.Verdict(), want.first, want.last)
	}
	r := o.Reader(0)
	for lsn := want.first; lsn <= want.last; lsn++ {
		if !r.Next() || r.LSN() != lsn {
			return errors.Join(fmt.Errorf("in the end: record %d was read for %d", r.LSN(), lsn), r.Err())
		}
		if !bytes.Equal(r.Record(), betweenRecord(want.generations[lsn], lsn)) {
			return fmt.Errorf("in the end: record %d is another one", lsn)
		}
	}
	if r.Next() {
		return fmt.Errorf("in the end: record %d", r.LSN())
	}
	return r.Close()
}
