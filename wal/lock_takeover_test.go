package wal_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// lockHarms are what may happen to the lock file under a writer, after which
// the next writer finds nothing locked there.
var lockHarms = []harm{
	{"removed", os.Remove},
	{"moved away", func(path string) error { return os.Rename(path, path+".away") }},
	{"replaced by an empty file", func(path string) error {
		if err := os.WriteFile(path+".new", nil, 0o644); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}},
	{"replaced by a copy", replacedByCopy},
}

// replacedByCopy renames a copy of the file over it.
func replacedByCopy(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err = os.WriteFile(path+".copy", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".copy", path)
}

// TestLockFileHarmed takes the lock file away from a live writer. No second
// writer gets in as long as the first one has a segment mapped; the first one
// says so, by the file's name, before it acknowledges anything.
func TestLockFileHarmed(t *testing.T) {
	for _, h := range lockHarms {
		for act, do := range map[string]func(*wal.Log) error{
			"append and sync": func(l *wal.Log) error {
				if _, err := l.Append(record(l.LastLSN()+1, 9000)); err != nil {
					return err
				}
				return l.Sync()
			},
			"sync":       func(l *wal.Log) error { return l.Sync() },
			"checkpoint": func(l *wal.Log) error { return l.Checkpoint() },
			"front cut":  func(l *wal.Log) error { return l.TruncateFront(2) },
			"back cut":   func(l *wal.Log) error { return l.TruncateBack(2) },
			"reset":      func(l *wal.Log) error { return l.Reset(20) },
			"close":      func(l *wal.Log) error { return l.Close() },
		} {
			for _, second := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", h.name, act, second), func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(fastDir(t), "log")
					l, err := wal.Open(dir, small())
					if err != nil {
						t.Fatal(err)
					}
					appendRecords(t, l, 3, 9000)
					if err = l.Sync(); err != nil {
						t.Fatal(err)
					}
					if second {
						appendRecords(t, l, 2, 9000) // the last one in the second segment
					}
					awaitPrepared(t, l, dir)
					if err = h.do(filepath.Join(dir, lockFile)); err != nil {
						t.Fatal(err)
					}
					if second {
						before := readDir(t, dir)
						delete(before, lockFile)
						_, err = wal.Open(dir, small())
						// It is refused before it changes anything: at the first file.
						if !errors.Is(err, wal.ErrLocked) || !strings.Contains(err.Error(), "0000000000000001.wal") {
							t.Fatalf("a second writer: %v", err)
						}
						now := readDir(t, dir)
						delete(now, lockFile)
						if len(now) != len(before) {
							t.Fatalf("the second writer left %d files of %d", len(now), len(before))
						}
						for name, b := range before {
							if !bytes.Equal(b, now[name]) {
								t.Fatalf("the second writer changed %s", name)
							}
						}
					}
					err = do(l)
					if !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), lockFile) || l.DurableLSN() != 3 {
						t.Fatalf("durable %d: %v", l.DurableLSN(), err)
					}
					last := l.LastLSN()
					_ = l.Close() // says it again, or that it was closed
					l = openLog(t, dir, small())
					if l.LastLSN() != last {
						t.Fatalf("the next writer finds %d records of %d", l.LastLSN(), last)
					}
					wantRecords(t, l, 1, last, 9000)
				})
			}
		}
	}
}

// TestLockFileGoneWhileOpening removes the lock file right after it was locked,
// and in later runs after each lock of a segment: who opens the log notices.
func TestLockFileGoneWhileOpening(t *testing.T) {
	for n := 1; ; n++ {
		dir := filepath.Join(fastDir(t), "log")
		l := openLog(t, dir, small())
		appendRecords(t, l, 3, 100)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		remove := durabilitytest.InjectDir(dir, func(c *durabilitytest.Call) error {
			if c.Op != durabilitytest.OpLock || c.Phase != durability.After {
				return nil
			}
			if seen++; seen == n {
				return os.Remove(filepath.Join(dir, lockFile))
			}
			return nil
		})
		l, err := wal.Open(dir, small())
		remove()
		if seen < n {
			if err != nil || n < 3 {
				t.Fatalf("%d locks, %v", seen, err)
			}
			if err = l.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), lockFile) {
			t.Fatalf("lock file removed after lock %d: %v", n, err)
		}
	}
}

// dirHarmed are what may happen to the directory of a live log.
var dirHarmed = []harm{
	{"moved away", func(path string) error { return os.Rename(path, path+".away") }},
	{"replaced by a copy", func(path string) error {
		return errors.Join(os.Rename(path, path+".away"), os.CopyFS(path, os.DirFS(path+".away")))
	}},
}

// TestDirectoryHarmed takes the directory of a live log away. Whatever would
// acknowledge anything says so: no process would find it by the log's path.
func TestDirectoryHarmed(t *testing.T) {
	for _, h := range dirHarmed {
		for act, do := range map[string]func(*wal.Log) error{
			"append and sync": func(l *wal.Log) error {
				_, err := l.Append(record(4, 9000))
				return errors.Join(err, l.Sync())
			},
			"sync":       func(l *wal.Log) error { return l.Sync() },
			"checkpoint": func(l *wal.Log) error { return l.Checkpoint() },
			"front cut":  func(l *wal.Log) error { return l.TruncateFront(2) },
			"back cut":   func(l *wal.Log) error { return l.TruncateBack(2) },
			"close":      func(l *wal.Log) error { return l.Close() },
		} {
			t.Run(h.name+"/"+act, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(fastDir(t), "log")
				l, err := wal.Open(dir, small())
				if err != nil {
					t.Fatal(err)
				}
				appendRecords(t, l, 3, 9000)
				if err = l.Sync(); err != nil {
					t.Fatal(err)
				}
				awaitPrepared(t, l, dir) // a copy meets no name that is about to change
				if err = h.do(dir); err != nil {
					t.Fatal(err)
				}
				err = do(l)
				var changed *durability.ChangedError
				if !errors.Is(err, wal.ErrPoisoned) || !errors.As(err, &changed) || changed.File != dir || l.DurableLSN() != 3 {
					t.Errorf("durable %d: %v", l.DurableLSN(), err)
				}
				_ = l.Close() // says it again, or that it was closed
			})
		}
	}
}

// takeover is the variable with the directory that the child writes to.
const takeover = "SEAWALL_TEST_TAKEOVER"

// TestTakeoverChild is the second writer of TestTakeover: it gets in as soon as
// it can, and prints the LSN of each record that it holds durable.
func TestTakeoverChild(t *testing.T) {
	dir, ok := os.LookupEnv(takeover)
	if !ok {
		return
	}
	l, err := openWhenFree(dir)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("opened %d\n", l.LastLSN())
	for range 40 {
		lsn, err := l.Append(record(l.LastLSN()+1, 1000))
		if err == nil {
			err = l.Sync()
		}
		if err != nil {
			fmt.Printf("error %v\n", err)
			return
		}
		fmt.Printf("acked %d\n", lsn)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// openWhenFree opens a log when its writer lets go of it.
func openWhenFree(dir string) (*wal.Log, error) {
	for ; ; time.Sleep(100 * time.Microsecond) {
		l, err := wal.Open(dir, small())
		// Its predecessor may remove what it had prepared, or the test the lock.
		if err == nil || !errors.Is(err, wal.ErrLocked) && !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), lockFile) {
			return l, err
		}
	}
}

// TestTakeover lets a writer append and rotate while the lock file is taken
// away and a second writer, in this process or in another one, tries to get in.
// Every record that either of them was told to be durable is there in the end.
func TestTakeover(t *testing.T) {
	rng := newRand(newSeed(t))
	for _, process := range []bool{false, true} {
		for _, o := range []wal.Options{{}, {Sync: wal.SyncEach}, {Sync: wal.SyncEvery(time.Millisecond)}} {
			o.SegmentBytes = wal.MinSegmentBytes
			after := wal.LSN(rng.IntN(150))
			h := lockHarms[rng.IntN(len(lockHarms))]
			t.Run(fmt.Sprintf("process %v/%v", process, o.Sync), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(fastDir(t), "log")
				l, err := wal.Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				second := make(chan string, 1)
				var acked wal.LSN
				for n := 0; err == nil && n < 100_000; n++ {
					if l.LastLSN() == after {
						if err = h.do(filepath.Join(dir, lockFile)); err != nil {
							t.Fatal(err)
						}
						go func() { second <- takeOver(dir, process) }()
					}
					_, err = l.Append(record(l.LastLSN()+1, 1000))
					acked = l.DurableLSN()
					if err == nil && n%7 == 0 && o.Sync == (wal.Options{}).Sync {
						if err = l.Sync(); err == nil {
							acked = l.DurableLSN()
						}
					}
				}
				appended := l.LastLSN()
				if !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), lockFile) {
					t.Errorf("%d records, durable %d: %v", appended, acked, err)
				}
				_ = l.Close() // says it again
				wantTakenOver(t, dir, acked, appended, <-second)
			})
		}
	}
}

// takeOver runs the second writer and returns what it said.
func takeOver(dir string, process bool) string {
	if process {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTakeoverChild$", "-test.v")
		cmd.Env = append(os.Environ(), takeover+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Sprintf("error %v: %s", err, out)
		}
		return string(out)
	}
	var out strings.Builder
	l, err := openWhenFree(dir)
	if err != nil {
		return fmt.Sprintf("error %v\n", err)
	}
	fmt.Fprintf(&out, "opened %d\n", l.LastLSN())
	for range 40 {
		if _, err := l.Append(record(l.LastLSN()+1, 1000)); err != nil {
			fmt.Fprintf(&out, "error %v\n", err)
			break
		}
		if err := l.Sync(); err != nil {
			fmt.Fprintf(&out, "error %v\n", err)
			break
		}
		fmt.Fprintf(&out, "acked %d\n", l.LastLSN())
	}
	if err := l.Close(); err != nil {
		fmt.Fprintf(&out, "error %v\n", err)
	}
	return out.String()
}

// wantTakenOver checks a log that two writers have had.
func wantTakenOver(t *testing.T, dir string, acked, appended wal.LSN, said string) {
	t.Helper()
	var opened, second wal.LSN
	lines := bufio.NewScanner(strings.NewReader(said))
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.ParseUint(rest, 10, 64)
		switch word {
		case "opened":
			opened = wal.LSN(n)
		case "acked":
			second = wal.LSN(n)
		case "error":
			t.Errorf("the second writer: %s", rest)
		}
	}
	if opened < acked || opened != appended || second != opened+40 {
		t.Errorf("the first writer has %d durable and %d appended; the second found %d and holds %d:\n%s", acked, appended, opened, second, said)
	}
	n := wal.LSN(0)
	rep, err := wal.Dump(dir, wal.DumpOptions{}, func(lsn wal.LSN, p []byte) error {
		n = lsn
		if !bytes.Equal(p, record(lsn, 1000)) {
			return fmt.Errorf("record %d differs: %w", lsn, io.ErrUnexpectedEOF)
		}
		return nil
	})
	if err != nil || rep.Verdict != wal.Clean || n != second {
		t.Errorf("the log holds %d of %d records: %+v, %v", n, second, rep, err)
	}
}
