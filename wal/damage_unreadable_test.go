package wal_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// badBlock is what a bad sector makes unreadable, in bytes: a page.
const badBlock = 4096

// bad is a block of a file that cannot be read until it is written.
type bad struct {
	name string
	off  int64
}

// badBlocks makes blocks of files unreadable: they are zeros, so that what a copy
// of them has is known, and no read gets at them.
func (s *specimen) badBlocks(t *testing.T, blocks ...bad) {
	t.Helper()
	if os.Getpagesize() != badBlock {
		t.Skipf("pages have %d bytes here", os.Getpagesize())
	}
	left := make(map[bad]bool)
	for _, b := range blocks {
		s.zero(b.name, b.off, b.off+badBlock)
		left[b] = true
	}
	var mu sync.Mutex
	durabilitytest.Inject(t, s.dir, func(c *durabilitytest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		for b := range left {
			if c.Op == durability.OpRemove && c.Name == b.name {
				delete(left, b)
			}
			hit := c.Name == b.name && c.Offset < b.off+badBlock && b.off < c.Offset+c.Length
			switch {
			case !hit || c.Dir != s.dir || c.Phase != durability.Before:
			case c.Op == durability.OpWrite:
				delete(left, b)
			case c.Op == durabilitytest.OpRead, c.Op == durabilitytest.OpReadDirect, c.Op == durabilitytest.OpPopulate:
				return unix.EIO
			}
		}
		return nil
	})
}

// unread is the damage of a block.
func unread(name string, off int64, first, last wal.LSN, unknown bool) wal.Damage {
	return wal.Damage{
		File: name, Offset: off, FirstLSN: first, LastLSN: last, Unknown: unknown,
		Reason: fmt.Sprintf("unreadable: %d bytes: input/output error", badBlock),
	}
}

// Blocks in segments of four records of 10,000 bytes.
const (
	inFirst   = 28672 // at the end of the first record, and the second one's header
	inSecond  = 32768 // in the second record
	inThird   = 45056 // in the third one
	behindTwo = 40960 // behind the second record, which ends in the block before
	atTheEnd  = 61440 // zeros
)

// unreadableTests make blocks unreadable of a log that has records 1 to 14 of
// 10,000 bytes in segments 1 to 4, all durable, and segments 5 and 6 prepared.
var unreadableTests = []struct {
	name    string
	blocks  []bad
	last    wal.LSN
	damage  []wal.Damage
	behind  []wal.Extract
	lost    string
	unknown bool
	saved   []string
}{
	{
		"a record",
		[]bad{{secondName, inSecond}},
		5,
		[]wal.Damage{unread(secondName, inSecond, 6, 6, false)},
		[]wal.Extract{{First: 7, Last: 14, Sure: wal.SureChain}},
		"[{6 14}]", false, savedAs(secondName, thirdName, fourthName),
	},
	{
		"records of two segments",
		[]bad{{secondName, inSecond}, {thirdName, inThird}},
		5,
		[]wal.Damage{unread(secondName, inSecond, 6, 6, false), unread(thirdName, inThird, 11, 11, false)},
		[]wal.Extract{{First: 7, Last: 10, Sure: wal.SureChain}, {First: 12, Last: 14, Sure: wal.SureChain}},
		"[{6 14}]", false, savedAs(secondName, thirdName, fourthName),
	},
	{
		"two of a segment",
		[]bad{{firstName, inSecond}, {firstName, inThird}},
		1,
		[]wal.Damage{unread(firstName, inSecond, 2, 2, false), unread(firstName, inThird, 3, 3, false)},
		[]wal.Extract{{First: 4, Last: 14, Sure: wal.SureChain}},
		"[{2 14}]", false, savedAs(firstName, secondName, thirdName, fourthName),
	},
	{
		"the last record",
		[]bad{{fourthName, inSecond}},
		13,
		[]wal.Damage{unread(fourthName, inSecond, 14, 14, false)},
		nil,
		"[{14 14}]", false, savedAs(fourthName),
	},
	{
		"the last record and its header",
		[]bad{{fourthName, inFirst}},
		12,
		[]wal.Damage{unread(fourthName, inFirst, 13, 14, true)},
		nil,
		"[{13 14}]", true, savedAs(fourthName),
	},
	{
		"behind the last record",
		[]bad{{fourthName, behindTwo}},
		14,
		[]wal.Damage{unread(fourthName, behindTwo, 0, 0, false)},
		nil, "[]", false, nil,
	},
	{
		"unused ends",
		[]bad{{secondName, atTheEnd}, {fourthName, atTheEnd}},
		14,
		[]wal.Damage{unread(secondName, atTheEnd, 0, 0, false), unread(fourthName, atTheEnd, 0, 0, false)},
		nil, "[]", false, nil,
	},
	{
		"a prepared segment",
		[]bad{{fifthName, inSecond}},
		14,
		[]wal.Damage{unread(fifthName, inSecond, 0, 0, false)},
		nil, "[]", false, nil,
	},
	{
		"a checkpoint record",
		[]bad{{fourthName, frame.SlotOffset}},
		14,
		[]wal.Damage{unread(fourthName, frame.SlotOffset, 0, 0, false)},
		nil, "[]", false, nil,
	},
	{
		"the control block",
		[]bad{{fourthName, frame.ControlOffset}},
		14,
		[]wal.Damage{unread(fourthName, frame.ControlOffset, 0, 0, false)},
		nil, "[]", false, nil,
	},
	{
		"a stamp",
		[]bad{{thirdName, frame.StampOffset}},
		8,
		[]wal.Damage{unread(thirdName, frame.StampOffset, 0, 0, false)},
		[]wal.Extract{{First: 9, Last: 14, Sure: wal.SureChain}},
		"[{9 14}]", false, savedAs(thirdName, fourthName),
	},
	{
		"a header",
		[]bad{{thirdName, frame.HeaderOffset}},
		8,
		[]wal.Damage{{File: thirdName, Reason: "header is unreadable: input/output error"}},
		[]wal.Extract{{First: 9, Last: 14, Sure: wal.SureChain}},
		"[{9 14}]", false, savedAs(thirdName, fourthName),
	},
	{
		"header and stamp of the last",
		[]bad{{fourthName, frame.HeaderOffset}, {fourthName, frame.StampOffset}},
		12,
		[]wal.Damage{{File: fourthName, Unknown: true, Reason: "header is unreadable: input/output error"}},
		[]wal.Extract{{First: 13, Last: 14, Sure: wal.SureChecksums}},
		"[{13 14}]", true, savedAs(fourthName),
	},
}

// TestUnreadableBlocks reads all but the blocks that cannot be read, and tells what
// was in them. A forced repair goes on before them, and makes them readable where
// they stay.
func TestUnreadableBlocks(t *testing.T) {
	base := rotated(t)
	for _, tt := range unreadableTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := take(t, base.dir)
			s.badBlocks(t, tt.blocks...)
			for _, device := range []bool{false, true} {
				rep, err := wal.VerifyWith(s.dir, wal.VerifyOptions{Device: device})
				if err != nil {
					t.Fatalf("verify, device %v: %v", device, err)
				}
				if d := cmp.Diff(tt.damage, rep.Damage); d != "" || rep.Verdict != wal.Damaged || rep.LastLSN != tt.last {
					t.Errorf("verify, device %v: %v, last %d, want %d (-want +got):\n%s", device, rep.Verdict, rep.LastLSN, tt.last, d)
				}
			}
			s.extracted(t, tt.behind, 10000)
			if tt.blocks[0].name == fourthName { // Open looks no farther back
				before := readDir(t, s.dir)
				if _, err := wal.Open(s.dir, small()); !errors.Is(err, unix.EIO) {
					t.Errorf("open: %v", err)
				}
				unchanged(t, "open", s.dir, before)
			}
			plan, err := wal.Repair(s.dir, wal.RepairOptions{Force: true, DryRun: true})
			if err != nil || plan.LostUnknown != tt.unknown {
				t.Errorf("a dry run: an unknown number is lost: %v, %v", plan.LostUnknown, err)
			}
			s.forced(t, 1, tt.last, tt.lost, tt.saved)
		})
	}
}

// TestUnreadableHeadOfALiveLog has a head that cannot be read while the log has a
// writer: what is read again until it stays the same is unreadable all the same.
func TestUnreadableHeadOfALiveLog(t *testing.T) {
	for _, block := range []int64{frame.HeaderOffset, frame.StampOffset} {
		for _, device := range []bool{false, true} {
			t.Run(fmt.Sprintf("block at %d, device %v", block, device), func(t *testing.T) {
				s := rotated(t)
				l, err := wal.Open(s.dir, small())
				must(t, err)
				defer l.Close()
				awaitPrepared(t, l, s.dir)
				s.badBlocks(t, bad{thirdName, block})
				rep, err := wal.VerifyWith(s.dir, wal.VerifyOptions{Device: device})
				if err != nil || !rep.Live {
					t.Fatalf("verify: %+v, %v", rep, err)
				}
				if len(rep.Damage) == 0 || !strings.Contains(rep.Damage[0].Reason, "unreadable") {
					t.Errorf("verify: %v, %+v", rep.Verdict, rep.Damage)
				}
			})
		}
	}
}

// TestNothingReadable is a log of which nothing can be read: that is no damage.
func TestNothingReadable(t *testing.T) {
	s := rotated(t)
	durabilitytest.Inject(t, s.dir, func(c *durabilitytest.Call) error {
		if c.Phase == durability.Before && c.Name != lockFile && (c.Op == durabilitytest.OpRead || c.Op == durabilitytest.OpReadDirect) {
			return unix.EIO
		}
		return nil
	})
	for what, look := range map[string]func() error{
		"verify": func() error { _, err := wal.Verify(s.dir); return err },
		"repair": func() error { _, err := wal.Repair(s.dir, wal.RepairOptions{Force: true}); return err },
	} {
		before := readDir(t, s.dir)
		if err := look(); !errors.Is(err, unix.EIO) {
			t.Errorf("%s: %v", what, err)
		}
		unchanged(t, what, s.dir, before)
	}
}

// TestUnreadableTemporary has a segment under its temporary name that holds
// records, and a head that cannot be read: that is damage, and a forced repair saves it.
func TestUnreadableTemporary(t *testing.T) {
	const temp = "0000000000000004.tmp"
	s := rotated(t)
	s.rename(fourthName, temp)
	s.remove(fifthName)
	s.remove(sixthName)
	s.badBlocks(t, bad{temp, frame.HeaderOffset})
	want := []wal.Damage{
		missing(fourthName, 13, 14), // as the lock file says
		{File: temp, Unknown: true, Reason: "header is unreadable: input/output error"},
	}
	for _, kept := range []bool{true, false} {
		if !kept {
			s.forgetCheckpoint()
			want = want[1:]
		}
		rep, err := wal.Verify(s.dir)
		if err != nil || rep.Verdict != wal.Damaged {
			t.Fatalf("verify: %+v, %v", rep, err)
		}
		if d := cmp.Diff(want, rep.Damage); d != "" {
			t.Errorf("verify, with the checkpoint kept %v (-want +got):\n%s", kept, d)
		}
	}
	s.forced(t, 1, 12, "[]", savedAs(temp))
}

// TestGuessedFront has a first segment without header and stamp whose slots say
// that it lies before the log's front: that was guessed, and the log is damaged.
func TestGuessedFront(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 6, 10000)
	before := takeLive(t, l, dir).get(firstName)
	must(t, l.TruncateFront(5))
	must(t, l.Close())
	s := take(t, dir)
	s.put(firstName, before)
	s.verify(finding{first: 5, last: 6, durable: 6, size: 10000})
	headGone(false, firstName)(s)
	rep, err := wal.Verify(s.dir)
	if err != nil || rep.Verdict != wal.Damaged {
		t.Fatalf("verify: %+v, %v", rep, err)
	}
}
