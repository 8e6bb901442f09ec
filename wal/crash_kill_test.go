package wal_test

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// killWriter is the environment variable that makes the test binary a writer:
// the directory, the life's number and the options, separated by commas.
const killWriter = "SEAWALL_TEST_WRITER"

func TestMain(m *testing.M) {
	if s := os.Getenv(killWriter); s != "" {
		os.Exit(runKillWriter(s))
	}
	if s := os.Getenv(besideReader); s != "" {
		os.Exit(runBesideReader(s))
	}
	if s := os.Getenv(directReader); s != "" {
		os.Exit(runDirectReader(s))
	}
	if s := os.Getenv(limitedChild); s != "" {
		os.Exit(runLimited(s))
	}
	// A failing state machine prints its seed; no file is left in the tree.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// killRecord is what life n appends as that record: its length and content
// follow from both numbers.
func killRecord(life int, lsn wal.LSN) []byte {
	rng := newRand(uint64(life)<<40 | uint64(lsn))
	p := make([]byte, 16+rng.IntN(3000))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	binary.LittleEndian.PutUint64(p, uint64(life))
	binary.LittleEndian.PutUint64(p[8:], uint64(lsn))
	return p
}

// runKillWriter appends until it is killed. It prints each LSN when Append has
// returned: nothing is kept in a buffer.
func runKillWriter(s string) int {
	parts := strings.SplitN(s, ",", 3)
	life, _ := strconv.Atoi(parts[0])
	mode, _ := strconv.Atoi(parts[1])
	o := small()
	o.Align = wal.Align(mode % 3)
	o.SegmentsAhead = 1 + mode%2
	if mode%4 == 1 {
		o.Sync = wal.SyncEvery(time.Millisecond)
	}
	l, err := wal.Open(parts[2], o)
	if err != nil {
		fmt.Println("open:", err)
		return 1
	}
	fmt.Println("opened", l.LastLSN())
	for n := 1; ; n++ {
		lsn := l.LastLSN() + 1
		if n%50 == 17 {
			_, err = l.AppendBatch([][]byte{killRecord(life, lsn), killRecord(life, lsn+1), killRecord(life, lsn+2)})
			lsn += 2
		} else {
			_, err = l.Append(killRecord(life, lsn))
		}
		if err == nil && n%100 == 0 {
			err = l.Checkpoint()
		} else if err == nil && n%30 == 0 {
			err = l.Sync()
		}
		if err != nil {
			fmt.Println("append:", err)
			return 1
		}
		fmt.Println(lsn)
	}
}

// TestKill kills writers at random moments, many lives on one log: whatever a
// life printed is in the log that the next one opens (C1), and nothing that
// was not appended.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	rng := newRand(seed)
	dir := filepath.Join(t.TempDir(), "log")
	var lives []wal.LSN // the last record of each
	lives = append(lives, 0)
	total, torn := 0, 0
	for i := range rounds(t, 3, 12) {
		life := i + 1
		began := lives[life-1]
		acked := killOne(t, dir, life, rng.IntN(12), began, time.Duration(rng.IntN(40_000))*time.Microsecond)
		rep, err := wal.Verify(dir)
		if err != nil || rep.Verdict == wal.Damaged || rep.LastLSN < acked {
			t.Fatalf("life %d: verify: %+v, %v; acknowledged up to %d", life, rep, err, acked)
		}
		if rep.Verdict == wal.Torn {
			torn++
		}
		lives = append(lives, rep.LastLSN)
		wantLives(t, dir, lives)
		total += int(rep.LastLSN - began)
		if rep.LastLSN > 20000 { // begin anew, so that reading it all stays cheap
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			for i := range lives {
				lives[i] = 0
			}
		}
	}
	t.Logf("%d lives, %d records, %d torn tails", len(lives)-1, total, torn)
}

// killOne runs a writer, kills it after a while of appending, and returns the
// last LSN that it printed.
func killOne(t *testing.T, dir string, life, mode int, began wal.LSN, after time.Duration) wal.LSN {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d,%d,%s", killWriter, life, mode, dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != fmt.Sprintf("opened %d", began) {
		_ = cmd.Process.Kill()
		t.Fatalf("life %d: %q, the log ended with %d", life, lines.Text(), began)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	acked := began
	for lines.Scan() {
		n, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			if last := lines.Text(); strings.HasPrefix(last, "append") || strings.HasPrefix(last, "open") {
				t.Fatalf("life %d: the writer says %q", life, last)
			}
			break // cut short by the kill
		}
		acked = max(acked, wal.LSN(n))
	}
	return acked
}

// wantLives compares all records with those that the lives appended: life i
// the ones behind lives[i-1], up to lives[i].
func wantLives(t *testing.T, dir string, lives []wal.LSN) {
	t.Helper()
	life, next := 1, wal.LSN(1)
	_, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		for lsn > lives[life] {
			life++
		}
		if want := killRecord(life, lsn); lsn != next || string(p) != string(want) {
			return fmt.Errorf("record %d (expected %d) of life %d differs", lsn, next, life)
		}
		next++
		return nil
	})
	if err != nil || next != lives[len(lives)-1]+1 {
		t.Fatalf("dump ended before %d: %v", next, err)
	}
}
