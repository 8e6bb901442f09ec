package wal_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// secondWriter is the variable with the directory that the child opens.
const secondWriter = "SEAWALL_TEST_SECOND_WRITER"

// TestSecondWriterChild is the other process of TestSecondWriter.
func TestSecondWriterChild(t *testing.T) {
	dir, ok := os.LookupEnv(secondWriter)
	if !ok {
		return
	}
	_, err := wal.Open(dir, small())
	rep, verr := wal.Verify(dir)
	if errors.Is(err, wal.ErrLocked) && verr == nil && rep.Live && rep.Verdict == wal.Clean {
		t.Log("locked, live and clean")
		return
	}
	t.Logf("open: %v; verify: %+v, %v", err, rep, verr)
}

// TestSecondWriter opens a log that is open, in this process and in another
// one: ErrLocked, and nothing is changed. Verify says that it is live.
func TestSecondWriter(t *testing.T) {
	l, dir := newTestLog(t, small())
	appendRecords(t, l, 5, 100)
	awaitPrepared(t, l, dir)
	before := readDir(t, dir)
	for range 2 { // the refusal does not let go of the lock
		if _, err := wal.Open(dir, small()); !errors.Is(err, wal.ErrLocked) || !strings.Contains(err.Error(), lockFile) {
			t.Errorf("the same process: %v, want ErrLocked", err)
		}
	}
	if rep, err := wal.Verify(dir); err != nil || !rep.Live || rep.Verdict != wal.Clean || rep.LastLSN != 5 {
		t.Errorf("verify in the same process: %+v, %v", rep, err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSecondWriterChild$", "-test.v")
	cmd.Env = append(os.Environ(), secondWriter+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "locked, live and clean") {
		t.Errorf("another process: %v\n%s", err, out)
	}
	unchanged(t, "a second writer", dir, before)
	appendRecords(t, l, 1, 100)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if rep, err := wal.Verify(dir); err != nil || rep.Live {
		t.Errorf("verify of the closed log: %+v, %v", rep, err)
	}
	openLog(t, dir, small())
}

// TestVerifyLive verifies a log while it is written to: never torn, never
// damaged, and never less than what was durable.
func TestVerifyLive(t *testing.T) {
	l, dir := newTestLog(t, small())
	stop, done := make(chan struct{}), make(chan struct{})
	var verified atomic.Int64
	go func() {
		defer close(done)
		for n := int64(0); ; n++ {
			// So much at a time: what is verified does not grow without end.
			for n >= 30*(verified.Load()+1) {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Microsecond):
				}
			}
			select {
			case <-stop:
				return
			default:
			}
			lsn, err := l.AppendBatch([][]byte{record(1, 3000), record(2, 10), nil})
			if err == nil && lsn%5 == 0 {
				err = l.Sync()
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	last := wal.LSN(0)
	for range 40 {
		durable := l.DurableLSN()
		rep, err := wal.Verify(dir)
		if err != nil {
			t.Error(err)
			break
		}
		if rep.Verdict != wal.Clean || !rep.Live || len(rep.Damage) != 0 || rep.LastLSN < durable || rep.LastLSN < last {
			t.Errorf("verdict %v, last %d after %d, durable %d, damage %+v", rep.Verdict, rep.LastLSN, last, durable, rep.Damage)
			break
		}
		last = rep.LastLSN
		verified.Add(1)
	}
	close(stop)
	<-done
}
