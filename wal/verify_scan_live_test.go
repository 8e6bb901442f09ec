package wal_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// busyWriter is the variable that makes the test binary a writer that cuts: its
// seed and the directory, separated by a comma.
const busyWriter = "SEAWALL_TEST_BUSY_WRITER"

// cutNote is what the busy writer has last cut. Records are of a generation,
// which each cut at the end begins.
type cutNote struct {
	Front wal.LSN // records before it are gone
	Cut   wal.LSN // records behind it are of this generation
	Gen   int
}

// illegal reports whether a record is one that was cut before.
func (c *cutNote) illegal(lsn wal.LSN, gen int) bool {
	return gen <= c.Gen && lsn < c.Front || gen < c.Gen && lsn > c.Cut
}

// TestBusyWriterChild is the other process of TestLookLive. It appends, rotates,
// syncs and cuts without a pause, until it is killed.
func TestBusyWriterChild(t *testing.T) {
	var seed uint64
	arg, ok := os.LookupEnv(busyWriter)
	if !ok {
		return
	}
	if _, err := fmt.Sscan(strings.Replace(arg, ",", " ", 1), &seed, &arg); err != nil {
		t.Fatal(err)
	}
	o := small()
	o.SegmentsAhead = 2
	l, err := wal.Open(arg, o)
	if err != nil {
		t.Fatal(err)
	}
	rng := newRand(seed)
	c := cutNote{Front: 1}
	note := func(err error) {
		if err != nil {
			t.Fatalf("%+v, log %d to %d: %v", c, l.FirstLSN(), l.LastLSN(), err)
		}
		fmt.Printf("cut %d %d %d\n", c.Front, c.Cut, c.Gen)
	}
	fmt.Println("cut 1 0 0")
	for {
		first, last := l.FirstLSN(), l.LastLSN()
		held := int(last + 1 - first)
		switch op := rng.IntN(1000); {
		case op < 20:
			err = l.Sync()
		case op < 24:
			err = l.Checkpoint()
		case op < 32 && held > 200:
			c.Front = first + wal.LSN(rng.IntN(held-100))
			note(l.TruncateFront(c.Front))
		case op < 34 && held > 0:
			c.Cut, c.Gen = last-wal.LSN(rng.IntN(min(held, 100))), c.Gen+1
			note(l.TruncateBack(c.Cut))
		case op < 35 && rng.IntN(3) == 0:
			next := 1 + last + wal.LSN(rng.IntN(100)) - min(last, 100)
			c = cutNote{Front: next, Cut: next - 1, Gen: c.Gen + 1}
			note(l.Reset(next))
		case op < 60:
			_, err = l.AppendBatch([][]byte{
				killRecord(c.Gen, last+1), killRecord(c.Gen, last+2), killRecord(c.Gen, last+3),
			})
		default:
			_, err = l.Append(killRecord(c.Gen, last+1))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// startBusyWriter starts the writer, and returns where its notes are kept.
func startBusyWriter(t *testing.T, dir string) *atomic.Pointer[cutNote] {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBusyWriterChild$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d,%s", busyWriter, newSeed(t), dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	notes := new(atomic.Pointer[cutNote])
	began, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		var words []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c := new(cutNote)
			if n, _ := fmt.Sscanf(lines.Text(), "cut %d %d %d", &c.Front, &c.Cut, &c.Gen); n != 3 {
				words = append(words, lines.Text())
				continue
			}
			if notes.Swap(c) == nil {
				close(began)
			}
		}
		if text := strings.Join(words, "\n"); strings.Contains(text, "FAIL") {
			t.Errorf("the writer failed: %s", text)
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
		if rep, err := wal.Verify(dir); err != nil || rep.Verdict == wal.Damaged || rep.Live {
			t.Errorf("verify after the writer's death: %+v, %v", rep, err)
		}
	})
	select {
	case <-began:
	case <-ended:
		t.Fatal("the writer has not begun")
	}
	return notes
}

// TestLookLive verifies, inspects and dumps a log again and again while another process
// appends, rotates, syncs and cuts at both ends as fast as it can. The verdict
// is clean each time that there is one; what Dump hands out is what was appended
// under that LSN, each once and in order, nothing that was cut before. That looks
// come to an end beside cuts is TestChangesDuringLooks's to show: how often the
// writer cuts while this process waits for its turn, nobody can say.
func TestLookLive(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), "log")
	notes := startBusyWriter(t, dir)
	end := deadline(t, 15)
	var wg sync.WaitGroup
	var verified, dumped, records, truncated, device, inspected, tired atomic.Int64
	for _, look := range []func() error{
		func() error {
			verified.Add(1)
			return wantClean(wal.Verify(dir))
		},
		func() error {
			device.Add(1)
			return wantClean(wal.VerifyWith(dir, wal.VerifyOptions{Device: true}))
		},
		func() error {
			inspected.Add(1)
			in, err := wal.Inspect(dir)
			if err == nil && (in.Live != wal.Yes || len(in.Damage) > 0 || in.LastLSN+1 < in.FirstLSN) {
				err = fmt.Errorf("inspect: %+v", in)
			}
			return err
		},
		func() error {
			dumped.Add(1)
			n, err := dumpBusy(dir, notes.Load())
			records.Add(int64(n))
			if errors.Is(err, wal.ErrTruncated) {
				truncated.Add(1)
				return nil
			}
			return err
		},
	} {
		wg.Go(func() {
			for n := 0; n < 10 || thorough() && time.Now().Before(end); n++ {
				err := look()
				if err != nil && strings.Contains(err.Error(), "is cut faster than it can be") {
					tired.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d verified, %d on the device, %d inspected, %d dumped with %d records, %d of them ended by a cut, %d not done for want of a pause; generation %d",
		verified.Load(), device.Load(), inspected.Load(), dumped.Load(), records.Load(), truncated.Load(), tired.Load(), notes.Load().Gen)
}

// wantClean returns an error unless a live log is clean.
func wantClean(rep *wal.Report, err error) error {
	if err == nil && (rep.Verdict != wal.Clean || !rep.Live || len(rep.Damage) > 0) {
		err = fmt.Errorf("%v, live: %v, damage %+v, last %d", rep.Verdict, rep.Live, rep.Damage, rep.LastLSN)
	}
	return err
}

// dumpBusy dumps the busy writer's log and checks each record. before is what
// was cut before.
func dumpBusy(dir string, before *cutNote) (n int, err error) {
	last, lastGen := wal.LSN(0), 0
	rep, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		n++
		if len(p) < 16 {
			return fmt.Errorf("record %d has %d bytes", lsn, len(p))
		}
		gen := int(binary.LittleEndian.Uint64(p))
		switch {
		case string(p) != string(killRecord(gen, lsn)):
			return fmt.Errorf("record %d of generation %d is not what was appended", lsn, gen)
		case lsn <= last || gen < lastGen:
			return fmt.Errorf("record %d of generation %d behind %d of %d", lsn, gen, last, lastGen)
		case before.illegal(lsn, gen):
			return fmt.Errorf("record %d of generation %d was cut before: %+v", lsn, gen, before)
		}
		last, lastGen = lsn, gen
		return nil
	})
	return n, wantClean(rep, err)
}
