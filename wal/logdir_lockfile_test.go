package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// loseNewest removes the newest segments, of those with records the last n, and
// all that are prepared.
func (s *specimen) loseNewest(n, prepared int) {
	s.t.Helper()
	names := s.segments()
	for _, name := range names[len(names)-n-prepared:] {
		s.remove(name)
	}
}

// TestNewestSegmentsLost removes the newest segments of a closed log, as a copy
// does that was interrupted: what is left shows no gap, and the lock file tells.
func TestNewestSegmentsLost(t *testing.T) {
	base := rotated(t)
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := take(t, base.dir)
			s.loseNewest(n, 2)
			last := wal.LSN(4 * (4 - n))
			var damage []wal.Damage
			for o := 5 - n; o <= 4; o++ {
				d := missing(fmt.Sprintf("%016x.wal", o), 0, 0)
				d.Unknown = false // the lock file says how far the log came
				if n > 1 {
					d.Reason = fmt.Sprintf("missing segment, one of %d up to %s", n, fourthName)
				}
				damage = append(damage, d)
			}
			damage[0].FirstLSN, damage[0].LastLSN = last+1, 14
			s.analyze(small(), finding{verdict: wal.Damaged, last: last, durable: 14, size: 10000, damage: damage})
			in, err := wal.Inspect(s.dir)
			if err != nil || len(in.Damage) != n {
				t.Errorf("inspect: %v, %v", in.Damage, err)
			}
			r, err := wal.OpenReader(s.dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Get(last + 1)
			var c *wal.CorruptError
			if !errors.As(err, &c) || c.File != damage[0].File {
				t.Errorf("get of a lost record: %v", err)
			}
			must(t, r.Close())
			s.giveUp(last)
		})
	}
}

// giveUp repairs the log by force, which ends with that record then, and goes on
// with it: no checkpoint from before is held against it.
func (s *specimen) giveUp(last wal.LSN) {
	s.t.Helper()
	rep, err := wal.Repair(s.dir, wal.RepairOptions{Force: true})
	if err != nil || !rep.Trimmed {
		s.t.Fatalf("forced: %+v, %v", rep, err)
	}
	for range 2 {
		if rep, err = wal.Verify(s.dir); err != nil || rep.Verdict != wal.Clean || rep.LastLSN != last {
			s.t.Fatalf("after the repair: %v, last %d, want %d: %v", rep.Verdict, rep.LastLSN, last, err)
		}
		l := openLog(s.t, s.dir, small())
		last++
		if lsn, err := l.Append(record(last, 100)); err != nil || lsn != last {
			s.t.Fatal(lsn, err)
		}
		must(s.t, l.Close())
	}
}

// TestCheckpointHolds is how far a log's last checkpoint, in the lock file, speaks
// for it: for what was there then, until a cut comes.
func TestCheckpointHolds(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*testing.T, *wal.Log) error
		lose int // newest segments with records
		want finding
	}{
		{"checkpoint", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 14, 10000)
			return l.Checkpoint()
		}, 1, finding{verdict: wal.Damaged, last: 12, durable: 14, damage: []wal.Damage{missing(fourthName, 13, 14)}}},
		{"appends after it", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 10, 10000)
			err := l.Checkpoint()
			appendRecords(t, l, 6, 10000)
			return errors.Join(err, l.Sync())
		}, 2, finding{verdict: wal.Damaged, last: 8, durable: 10, damage: []wal.Damage{missing(thirdName, 9, 10)}}},
		{"none of what is lost", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 10, 10000)
			err := l.Checkpoint()
			appendRecords(t, l, 6, 10000)
			return errors.Join(err, l.Sync())
		}, 1, finding{last: 12, durable: 10}},
		{"a cut at the back of it", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 14, 10000)
			return errors.Join(l.Checkpoint(), l.TruncateBack(6))
		}, 0, finding{last: 6, durable: 6}},
		{"a checkpoint of the cut", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 14, 10000)
			err := errors.Join(l.Checkpoint(), l.TruncateBack(6))
			appendRecords(t, l, 4, 10000)
			return errors.Join(err, l.Checkpoint())
		}, 1, finding{verdict: wal.Damaged, last: 8, durable: 10, damage: []wal.Damage{missing(thirdName, 9, 10)}}},
		{"a reset", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 14, 10000)
			return errors.Join(l.Checkpoint(), l.Reset(3))
		}, 0, finding{first: 3, last: 2, durable: 2}},
		{"a cut of all", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 14, 10000)
			return errors.Join(l.Checkpoint(), l.TruncateFront(15))
		}, 0, finding{first: 15, last: 14, durable: 14}},
		{"a cut at the front", func(t *testing.T, l *wal.Log) error {
			appendRecords(t, l, 14, 10000)
			return errors.Join(l.TruncateFront(7), l.Checkpoint())
		}, 1, finding{verdict: wal.Damaged, first: 7, last: 12, durable: 14, damage: []wal.Damage{missing(fourthName, 13, 14)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, dir := newTestLog(t, small())
			must(t, tt.do(t, l))
			s := takeLive(t, l, dir)
			s.loseNewest(tt.lose, 2)
			rep, err := wal.Verify(s.dir)
			must(t, err)
			// The records differ where a cut has others come.
			tt.want.recordsDiffer, tt.want.anyTorn = true, true
			if tt.want.verdict == wal.Clean && rep.DurableLSN < tt.want.durable {
				t.Errorf("durable %d, want %d", rep.DurableLSN, tt.want.durable)
			}
			tt.want.durable = rep.DurableLSN
			s.verify(tt.want)
		})
	}
}

// TestLockOfAnotherMoment puts the segments of one moment beside the lock file of
// another one, as a copy has them that was made in two parts.
func TestLockOfAnotherMoment(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 6, 10000)
	must(t, l.Checkpoint())
	early := takeLive(t, l, dir)
	appendRecords(t, l, 8, 10000) // up to 14
	must(t, l.Checkpoint())
	late := takeLive(t, l, dir)
	must(t, l.TruncateBack(4))
	appendRecords(t, l, 1, 10000)
	must(t, l.Checkpoint())
	cut := takeLive(t, l, dir)

	both := func(segments, lock *specimen) *specimen {
		s := take(t, segments.dir)
		s.put(lockFile, lock.get(lockFile))
		return s
	}
	both(late, early).verify(finding{last: 14, durable: 14, size: 10000})
	both(cut, late).verify(finding{last: 5, durable: 5, size: 10000})
	s := both(early, late)
	f := s.frameOf(secondName, 6)
	s.verify(finding{
		verdict: wal.Damaged, last: 6, durable: 14, size: 10000, anyTorn: true, damage: []wal.Damage{{
			File: secondName, Offset: f.end(), FirstLSN: 7, LastLSN: 14, Reason: "zeros where a frame should be",
		}},
	})
	s.giveUp(6)
	s = both(late, cut)
	rep, err := wal.Verify(s.dir)
	must(t, err)
	if rep.Verdict != wal.Damaged || !strings.Contains(rep.Damage[0].Reason, "older moment") {
		t.Errorf("segments from before a cut, and the lock file from behind it: %v, %v", rep.Verdict, rep.Damage)
	}
	s.giveUp(14)
}

// TestCheckpointBlocks damages what the lock file says: it is believed whole or not
// at all, and one checkpoint outlives the loss of the other.
func TestCheckpointBlocks(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 10, 10000)
	must(t, l.Checkpoint())
	appendRecords(t, l, 4, 10000)
	must(t, l.Checkpoint())
	base := takeLive(t, l, dir)
	base.loseNewest(2, 2) // of 14 records, 8 are left
	lock := base.get(lockFile)
	if len(lock) != frame.LockBytes {
		t.Fatalf("the lock file has %d bytes", len(lock))
	}
	durable := func(lock []byte) wal.LSN {
		t.Helper()
		base.put(lockFile, lock)
		rep, err := wal.Verify(base.dir)
		must(t, err)
		if (rep.Verdict == wal.Damaged) != (rep.DurableLSN > rep.LastLSN) {
			t.Errorf("%v with durable %d, last %d", rep.Verdict, rep.DurableLSN, rep.LastLSN)
		}
		return rep.DurableLSN
	}
	// The last checkpoint is in the second block, the one before in the first.
	for block, want := range []wal.LSN{14, 10} {
		off := frame.CheckpointOffset + block*frame.BlockBytes
		for i := range frame.CheckpointBytes {
			hurt := bytes.Clone(lock)
			hurt[off+i] ^= 1
			if got := durable(hurt); got != want {
				t.Errorf("byte %d of checkpoint %d flipped: durable %d, want %d", i, block, got, want)
			}
		}
	}
	for _, n := range []int{0, 1, 48, 49, 50, frame.CheckpointOffset + frame.CheckpointBytes, frame.LockBytes - 1} {
		if got := durable(lock[:n]); got > 8 {
			t.Errorf("lock file of %d bytes: durable %d", n, got)
		}
	}
	// It outlives the loss of the text, since no crash leaves it without that.
	nameless := bytes.Clone(lock)
	clear(nameless[:frame.CheckpointOffset])
	if got := durable(nameless); got != 14 {
		t.Errorf("lock file without a name: durable %d", got)
	}
	// It is of this log alone.
	foreign, err := frame.DecodeCheckpoint(lock[frame.CheckpointOffset+frame.BlockBytes:])
	must(t, err)
	foreign.UUID[0] ^= 1
	of := foreign.Encode()
	copy(nameless[frame.CheckpointOffset+frame.BlockBytes:], of[:])
	if got := durable(nameless); got > 8 {
		t.Errorf("lock file without a name, with the newest checkpoint of another log: durable %d", got)
	}
	other := bytes.Clone(lock)
	copy(other[len("seawall log "):], "00000000")
	base.put(lockFile, other)
	if _, err := wal.Verify(base.dir); !errors.Is(err, wal.ErrForeign) {
		t.Errorf("lock file of another log: %v", err)
	}
}

// TestOldLockFile opens a log whose lock file has no room for checkpoints, and
// makes some.
func TestOldLockFile(t *testing.T) {
	s := rotated(t)
	s.forgetCheckpoint()
	l := openLog(t, s.dir, small())
	must(t, l.Close())
	s = take(t, s.dir)
	s.loseNewest(1, 2)
	s.verify(finding{verdict: wal.Damaged, last: 12, durable: 14, size: 10000, damage: []wal.Damage{missing(fourthName, 13, 14)}})
}

// TestCheckpointFails has the lock file fail: a full disk costs the note and no
// record, and any other error is that of a failed sync.
func TestCheckpointFails(t *testing.T) {
	for _, tt := range []struct {
		op    durability.Op
		errno unix.Errno
		want  error
	}{
		{durability.OpWrite, unix.ENOSPC, nil},
		{durability.OpWrite, unix.EDQUOT, nil},
		{durability.OpSync, unix.ENOSPC, nil},
		{durability.OpWrite, unix.EIO, wal.ErrPoisoned},
		{durability.OpSync, unix.EIO, wal.ErrPoisoned},
	} {
		t.Run(fmt.Sprint(tt.op, " ", tt.errno), func(t *testing.T) {
			var said bytes.Buffer
			o := small()
			o.Logger = slog.New(slog.NewTextHandler(&said, nil))
			l, dir := newTestLog(t, o)
			appendRecords(t, l, 5, 10000)
			stop := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
				if c.Op == tt.op && c.Name == lockFile && c.Phase == durability.Before {
					return tt.errno
				}
				return nil
			})
			err := l.Close()
			stop()
			if !errors.Is(err, tt.want) {
				t.Errorf("close: %v, want %v", err, tt.want)
			}
			if tt.want == nil && !strings.Contains(said.String(), "no space to note the checkpoint") {
				t.Errorf("said %q", said.String())
			}
			s := take(t, dir)
			s.verify(finding{last: 5, durable: 5, size: 10000})
		})
	}
}

// TestEmptyLockFile is what the birth of a log leaves that failed, for want of space
// say: no log, and a directory that one can be made in.
func TestEmptyLockFile(t *testing.T) {
	for name, lock := range map[string][]byte{"empty": nil, "zeros": make([]byte, frame.LockBytes), "torn": []byte("seawall log 01")} {
		t.Run(name, func(t *testing.T) {
			s := &specimen{t: t, dir: filepath.Join(logDir(t), "log")}
			s.fill(map[string][]byte{lockFile: lock})
			before := maps.Clone(readDir(t, s.dir))
			for what, fn := range map[string]func() error{
				"verify":  func() error { _, err := wal.Verify(s.dir); return err },
				"repair":  func() error { _, err := wal.Repair(s.dir, wal.RepairOptions{Force: true}); return err },
				"inspect": func() error { _, err := wal.Inspect(s.dir); return err },
				"reader":  func() error { _, err := wal.OpenReader(s.dir); return err },
				"dump": func() error {
					_, err := wal.Dump(s.dir, wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil })
					return err
				},
			} {
				if err := fn(); !errors.Is(err, wal.ErrMissing) || !strings.Contains(err.Error(), "as a creation that failed leaves it") {
					t.Errorf("%s: %v", what, err)
				}
			}
			unchanged(t, "a look", s.dir, before)
			l := openLog(t, s.dir, small())
			appendRecords(t, l, 3, 100)
			must(t, l.Close())
			s.verify(finding{last: 3, durable: 3, size: 100})
			if slices.Contains(s.names(), "lost") {
				t.Error("something was saved")
			}
		})
	}
}

// TestOnlyTemporaryLeft leaves no segment and no name of the log, as a disk may whose flushes lie:
// a file with its temporary name that was a segment before tells that there was a log. One that was
// never used does not.
func TestOnlyTemporaryLeft(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 6, 10000)
	must(t, l.Checkpoint())
	base := takeLive(t, l, dir)
	second := base.get(secondName) // it has the checkpoint
	withoutStamp := bytes.Clone(second)
	clear(withoutStamp[frame.StampOffset:][:frame.BlockBytes])
	unused := bytes.Clone(withoutStamp)
	clear(unused[frame.StampOffset:])
	for _, tt := range []struct {
		name, file string
		data       []byte
		used       bool
	}{
		{"a segment of another number", "0000000000000001.tmp", second, true},
		{"names durable records", "0000000000000002.tmp", withoutStamp, true},
		{"never used", "0000000000000002.tmp", unused, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &specimen{t: t, dir: t.TempDir()}
			s.put(lockFile, nil)
			s.put(tt.file, tt.data)
			rep, err := wal.Verify(s.dir)
			must(t, err)
			if (rep.Verdict == wal.Damaged) != tt.used {
				t.Errorf("verify: %v, %+v", rep.Verdict, rep.Damage)
			}
			l, err := wal.Open(s.dir, small())
			if !tt.used {
				must(t, err)
				must(t, l.Close())
				return
			}
			var damaged *wal.CorruptError
			if !errors.As(err, &damaged) || !bytes.Equal(s.get(tt.file), tt.data) {
				t.Errorf("open: %v", err)
			}
			_, err = wal.Repair(s.dir, wal.RepairOptions{Force: true})
			must(t, err)
			if rep, err = wal.Verify(s.dir); err != nil || rep.Verdict != wal.Clean {
				t.Errorf("repaired: %v, %v", rep, err)
			}
		})
	}
}
