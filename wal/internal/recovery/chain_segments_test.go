package recovery_test

import (
	"testing"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// TestSegmentsUnlinked are logs whose second segment is well formed, and does
// not continue the first one: its records are none of the log.
func TestSegmentsUnlinked(t *testing.T) {
	tests := []struct {
		name string
		turn func(*sample) // before the rotation
		last frame.LSN
	}{
		{"continues", func(*sample) {}, 3},
		{"another final link", func(s *sample) { s.link++ }, 2},
		{"an LSN left out", func(s *sample) { s.lsn++ }, 2},
		{"an LSN again", func(s *sample) { s.lsn-- }, 2},
		{"a smaller epoch", func(s *sample) { s.epoch-- }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSample(1)
			s.batch(payload(1))
			s.epoch, s.cut = 2, frame.Cut{Ordinal: 1, Offset: uint64(s.off), LSN: 1}
			s.batch(payload(2))
			tt.turn(s)
			s.rotate()
			s.batch(payload(3))
			j := s.recover(t, recovery.Options{All: true})
			if j.Tail.LSN != tt.last || j.Verdict == recovery.Damaged || (j.Verdict == recovery.Clean) != (tt.last == 3) {
				t.Errorf("recovered %v, last %d, want %d; damage %+v", j.Verdict, j.Tail.LSN, tt.last, j.Damage)
			}
		})
	}
}

// TestBeginsAtProvedSegment recovers without All a log whose older segment is
// torn and whose newer ones hold frames, but prove nothing: recovery goes
// back to the tear.
func TestBeginsAtProvedSegment(t *testing.T) {
	s := newSample(1)
	for i := range 5 {
		if i > 0 {
			s.rotate()
		}
		s.batch(payload(10))
		s.batch(payload(20))
		if i == 0 {
			s.sync()
		}
	}
	p := s.places[3] // record 4, in the second segment
	clear(s.segments[1][p.off : p.off+p.Size()])
	j := s.recover(t, recovery.Options{})
	wantFacts(t, j, facts{Verdict: recovery.Torn, Last: 3, Watermark: 2, Behind: []recovery.Range{{First: 5, Last: 10}}})
}

// TestCutProvesWatermark loses a record before a cut when nothing but a stamp tells
// of the cut.
func TestCutProvesWatermark(t *testing.T) {
	s := newSample(1)
	s.batch(payload(1))
	s.batch(payload(2))
	s.cutAt(s.places[1])
	s.durable = 0
	s.rotate()
	clear(s.segments[0][frame.SlotOffset:frame.ControlOffset])
	p := s.places[1]
	clear(s.segments[0][p.off : p.off+p.Size()])
	wantFacts(t, s.recover(t, recovery.Options{All: true}), facts{
		Verdict: recovery.Damaged, Last: 1, Watermark: 2,
		Damage: []recovery.Damage{{File: one, Offset: p.off, First: 2, Last: 2, Reason: "zeros where a frame should be"}},
	})
}
