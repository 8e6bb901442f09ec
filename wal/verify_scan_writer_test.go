package wal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// TestLooksDuringChanges stops the writer before each of its system calls of a
// change, looks at the log in each way, and lets it go on: nothing is damaged
// meanwhile, what is read was in the log, and a LogReader that was opened there
// has the log as it is when the change is done.
//
// One case in some is tried; which of them is the seed's where a budget is set.
func TestLooksDuringChanges(t *testing.T) {
	some, from := 41, 0
	if thorough() {
		some, from = 7, int(newSeed(t)%7)
	}
	for i, c := range betweenChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := 13*i + from
			for at, more := 1, true; more; at++ {
				for _, look := range betweenLooks {
					if n++; n%some != 0 || look.name == "follow" {
						continue // it would wait for what the change is to make
					}
					t.Run(fmt.Sprintf("%s/%d", look.name, at), func(t *testing.T) {
						more = lookDuring(t, c.do, at, look)
					})
				}
				if at > 400 {
					t.Fatal("a change of so many calls")
				}
			}
		})
	}
}

// lookDuring looks at a log before the at-th system call of a change. It reports
// whether the change makes so many.
func lookDuring(t *testing.T, change func(*shifting), at int, look betweenLook) bool {
	s := newShifting(t, filepath.Join(fastDir(t), "log"))
	defer s.close()
	// What the change is about to make of the log may be seen already.
	s.begin(foreseen(t, change)...)
	do := look.begin(s)
	var o *wal.LogReader
	var err error
	stop := &stopAt{at: int64(at), do: func() { o, err = do() }}
	remove := durabilitytest.InjectDir(s.dir, stop.hook)
	change(s)
	remove()
	stop.end()
	if err == nil && o != nil {
		err = s.settled(o)
	}
	if err != nil {
		t.Errorf("%s, at call %d: %v", look.name, at, err)
	}
	return int(stop.calls.Load()) >= at
}

// foreseen makes the change to another log that is like the one at hand, and
// returns what that held.
func foreseen(t *testing.T, change func(*shifting)) []betweenState {
	like := newShifting(t, filepath.Join(fastDir(t), "log"))
	defer like.close()
	like.begin()
	change(like)
	return like.since()[1:]
}

// TestChangesWithoutAPause lets the same change come before the same system call
// of look after look: whatever the looks make of that, it is not damage, and when
// the changes end they see the log.
func TestChangesWithoutAPause(t *testing.T) {
	storms := map[string]func(*shifting){
		"front": func(s *shifting) { s.append(2); s.front(s.l.LastLSN() - 5) },
		"back":  func(s *shifting) { s.back(s.l.LastLSN() - 3); s.append(5) },
		"reset": func(s *shifting) { s.reset(max(s.l.LastLSN(), 6) - 5); s.append(5) },
	}
	for name, storm := range storms {
		for _, look := range betweenLooks {
			for _, nth := range []string{"0000000000000005", "tail", "lock"} {
				t.Run(name+"/"+look.name+"/"+nth, func(t *testing.T) {
					t.Parallel()
					s := newShifting(t, filepath.Join(fastDir(t), "log"))
					defer s.close()
					do := look.begin(s)
					var busy, n atomic.Int64
					var storms sync.Mutex // held during a change: the call may be that of a goroutine of the log
					ended := false
					remove := durabilitytest.InjectDir(s.dir, func(c *durabilitytest.Call) error {
						if c.Phase != durability.Before || busy.Load() != 0 || n.Load() >= 60 {
							return nil
						}
						switch nth {
						case "lock":
							if c.Op != durabilitytest.OpLock {
								return nil
							}
						case "tail":
							if c.Op != durabilitytest.OpOpen || c.Name != tailOf(s.l) {
								return nil
							}
						default:
							if c.Op != durabilitytest.OpOpen || n.Add(1)%5 != 0 {
								return nil
							}
						}
						n.Add(1)
						storms.Lock()
						defer storms.Unlock()
						if !ended {
							busy.Store(1)
							storm(s)
							busy.Store(0)
						}
						return nil
					})
					o, err := do()
					remove()
					storms.Lock()
					ended = true
					storms.Unlock()
					if errors.Is(err, wal.ErrCorrupt) {
						t.Errorf("%v", err)
					}
					if err == nil && o != nil {
						err = s.settled(o)
					}
					if err != nil {
						t.Logf("%d changes: %v", n.Load(), err)
					}
				})
			}
		}
	}
}

// tailOf returns the name of the segment that a log ends in.
func tailOf(l *wal.Log) string {
	list := l.Segments()
	return list[len(list)-1].Name
}

// TestDamageBesideABusyWriter removes a segment, and flips a bit of another,
// under a writer that goes on appending before each system call of the reader:
// the reader says so all the same.
func TestDamageBesideABusyWriter(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*testing.T, string){
		"flipped": func(t *testing.T, dir string) {
			flipIn(t, filepath.Join(dir, thirdName))
		},
		"gone": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, thirdName))) },
	} {
		for _, open := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", name, open), func(t *testing.T) {
				t.Parallel()
				s := newShifting(t, filepath.Join(fastDir(t), "log"))
				defer s.close()
				o := openReader(t, s.dir)
				if !open {
					harm(t, s.dir)
				}
				var busy atomic.Bool
				remove := durabilitytest.InjectDir(s.dir, func(c *durabilitytest.Call) error {
					if c.Phase == durability.Before && busy.CompareAndSwap(false, true) {
						s.held[s.l.LastLSN()+1] = s.generation
						if _, err := s.l.Append([]byte("busy")); err != nil {
							t.Error(err)
						}
						busy.Store(false)
					}
					return nil
				})
				defer remove()
				if open {
					harm(t, s.dir)
				} else {
					o = openReader(t, s.dir)
				}
				_, err := o.Get(5)
				var damage *wal.CorruptError
				if !errors.As(err, &damage) || filepath.Base(damage.File) != thirdName {
					t.Errorf("%v, file %+v", err, damage)
				}
			})
		}
	}
}

// flipIn flips a bit in the middle of a segment's file.
func flipIn(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	b := make([]byte, 1)
	for _, off := range []int64{25000, 45000} {
		_, err = f.ReadAt(b, off)
		must(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, off)
		must(t, err)
	}
	must(t, f.Close())
}
