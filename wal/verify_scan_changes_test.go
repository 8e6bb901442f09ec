package wal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
)

// betweenBytes is the size of a record of a shifting log: two fill a segment.
const betweenBytes = 20000

// betweenRecord is a record that says its generation and its LSN.
func betweenRecord(generation uint64, lsn wal.LSN) []byte {
	p := bytes.Repeat([]byte{byte(generation*31 + uint64(lsn) + 1)}, betweenBytes)
	binary.LittleEndian.PutUint64(p, generation)
	binary.LittleEndian.PutUint64(p[8:], uint64(lsn))
	return p
}

// betweenState is what a log holds at one moment.
type betweenState struct {
	first, last wal.LSN
	generation  uint64
	generations map[wal.LSN]uint64
}

// shifting is a log that changes while it is looked at, and all that it held
// since the look began.
type shifting struct {
	t          *testing.T
	dir        string
	l          *wal.Log // nil while the log has no writer
	generation uint64
	held       map[wal.LSN]uint64

	mu     sync.Mutex
	states []betweenState
}

// newShifting makes a log of five segments whose first record is in the middle
// of the first one.
func newShifting(t *testing.T, dir string) *shifting {
	s := &shifting{t: t, dir: dir, held: make(map[wal.LSN]uint64)}
	s.open()
	s.append(9)
	s.front(2)
	s.note()
	return s
}

// note notes what the log holds.
func (s *shifting) note() {
	st := betweenState{generation: s.generation, generations: make(map[wal.LSN]uint64)}
	st.first, st.last = s.l.FirstLSN(), s.l.LastLSN()
	for lsn := st.first; lsn <= st.last; lsn++ {
		st.generations[lsn] = s.held[lsn]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = append(s.states, st)
}

// begin forgets all states but the last one, and expects those of the log that
// are given as well.
func (s *shifting) begin(expected ...betweenState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = append(s.states[len(s.states)-1:len(s.states):len(s.states)], expected...)
}

// since returns all states since the beginning.
func (s *shifting) since() []betweenState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[:len(s.states):len(s.states)]
}

// end returns the last state.
func (s *shifting) end() betweenState {
	all := s.since()
	return all[len(all)-1]
}

func (s *shifting) open() {
	var err error
	if s.l, err = wal.Open(s.dir, small()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shifting) close() {
	if s.l == nil {
		return
	}
	if err := s.l.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.l = nil
}

// append appends records, each a state of its own, and waits until those behind
// it are prepared.
func (s *shifting) append(n int) {
	for range n {
		lsn := s.l.LastLSN() + 1
		s.held[lsn] = s.generation
		if _, err := s.l.Append(betweenRecord(s.generation, lsn)); err != nil {
			s.t.Fatal(err)
		}
		s.note()
	}
	if s.l.Stats().Records > 0 {
		awaitPrepared(s.t, s.l, s.dir)
	}
}

func (s *shifting) front(lsn wal.LSN) { s.did(s.l.TruncateFront(lsn)) }

func (s *shifting) back(lsn wal.LSN) {
	s.generation++
	s.did(s.l.TruncateBack(lsn))
}

func (s *shifting) reset(lsn wal.LSN) {
	s.generation++
	s.did(s.l.Reset(lsn))
}

func (s *shifting) did(err error) {
	if err != nil {
		s.t.Fatal(err)
	}
	s.note()
}

// betweenChanges are what a writer that was there before does in one go. Each
// leaves it idle.
var betweenChanges = []struct {
	name string
	do   func(*shifting)
}{
	{"append", func(s *shifting) { s.append(1) }},
	{"rotate", func(s *shifting) { s.append(4) }},
	{"front within a segment", func(s *shifting) { s.front(3) }},
	{"front", func(s *shifting) { s.front(6) }},
	{"front, used again", func(s *shifting) { s.front(6); s.append(4) }},
	{"front, all used again", func(s *shifting) { s.front(10); s.append(10); s.front(20); s.append(9) }},
	{"back", func(s *shifting) { s.append(1); s.back(9) }},
	{"back, to the front", func(s *shifting) { s.back(1) }},
	{"back over segments", func(s *shifting) { s.back(4) }},
	{"back over segments, prepared again", func(s *shifting) { s.back(4); s.append(1) }},
	{"back over segments, entered again", func(s *shifting) { s.back(4); s.append(6) }},
	{"reset", func(s *shifting) { s.reset(2) }},
	{"reset, and on", func(s *shifting) { s.reset(2); s.append(8) }},
	{"reset, far behind", func(s *shifting) { s.reset(100); s.append(3) }},
	{"both ends", func(s *shifting) {
		s.front(5)
		s.back(6)
		s.append(5)
		s.reset(7)
		s.append(6)
		s.front(9)
	}},
	{"sync", func(s *shifting) { s.did(s.l.Checkpoint()) }},
}

// betweenWriters are what writers come and go around a change. The log has a
// writer when the look begins, or none.
var betweenWriters = []struct {
	name string
	live bool
	do   func(s *shifting, change func(*shifting))
}{
	{"writer", true, func(s *shifting, change func(*shifting)) { change(s) }},
	{"writer that goes", true, func(s *shifting, change func(*shifting)) { change(s); s.close() }},
	{"writer that is replaced", true, func(s *shifting, change func(*shifting)) { s.close(); s.open(); change(s) }},
	{"writer that comes", false, func(s *shifting, change func(*shifting)) { s.open(); change(s) }},
	{"writer that comes and goes", false, func(s *shifting, change func(*shifting)) { s.open(); change(s); s.close() }},
}

// stopAt has a function called before the at-th system call that is made in a
// directory, where that is not zero. It counts the calls that the function does
// not make itself.
//
// The call may be that of a goroutine of the log: end waits for the function, and
// lets it not be called any more.
type stopAt struct {
	at    int64
	calls atomic.Int64
	busy  atomic.Bool
	do    func()

	mu    sync.Mutex // held while do runs
	ended bool
}

func (s *stopAt) hook(c *durabilitytest.Call) error {
	if c.Phase != durability.Before || s.busy.Load() {
		return nil
	}
	if s.calls.Add(1) != s.at {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.busy.Store(true)
		s.do()
		s.busy.Store(false)
	}
	return nil
}

func (s *stopAt) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// during makes a log, and looks at it with one change before the at-th system
// call of the look. It returns how many calls there were.
func during(t *testing.T, live bool, at int, change func(*shifting), look betweenLook) int {
	t.Helper()
	dir := filepath.Join(fastDir(t), "log")
	s := newShifting(t, dir)
	defer s.close()
	if !live {
		s.close()
	}
	s.begin()
	do := look.begin(s)
	stop := &stopAt{at: int64(at), do: func() { change(s) }}
	remove := durabilitytest.InjectDir(dir, stop.hook)
	o, err := do()
	remove()
	stop.end()
	if err == nil && o != nil {
		err = s.settled(o)
	}
	if err != nil {
		t.Errorf("%s, at call %d: %v", look.name, at, err)
	}
	return int(stop.calls.Load())
}

// betweenFound are moments at which a look once told what never was so, as numbers
// of calls.
var betweenFound = map[string][]int{
	"open/writer/reset, and on":                                {41, 45, 49},
	"open/writer/front, all used again":                        {90, 92, 94},
	"verify/writer that comes and goes/both ends":              {6, 8, 11},
	"verify/writer that comes and goes/front, all used again":  {7, 8},
	"dump/writer that comes/reset, far behind":                 {37},
	"dump/writer that comes/front, all used again":             {7},
	"inspect/writer that comes and goes/both ends":             {6, 8, 11},
	"inspect/writer that comes and goes/front, all used again": {12},
}

// TestChangesDuringLooks stops looks of every kind before each of their system
// calls, and has the log changed there. What a look says must have been so at
// some moment since it began, and nothing that moved is damage.
//
// There are some 75,000 cases, of 20 ms each: one in some is tried, and those that
// once failed. Which of them is the seed's where a budget is set.
func TestChangesDuringLooks(t *testing.T) {
	some, from := 401, 0
	if thorough() {
		some, from = 13, int(newSeed(t)%13)
	}
	for i, look := range betweenLooks {
		for j, w := range betweenWriters {
			t.Run(fmt.Sprintf("%s/%s", look.name, w.name), func(t *testing.T) {
				t.Parallel()
				calls := during(t, w.live, 0, nil, look)
				tried, n := 0, 37*i+61*j+from
				for at := 1; at <= calls; at++ {
					for _, c := range betweenChanges {
						found := slices.Contains(betweenFound[look.name+"/"+w.name+"/"+c.name], at)
						if n++; n%some != 0 && !found {
							continue
						}
						tried++
						t.Run(fmt.Sprintf("%s/%d", c.name, at), func(t *testing.T) {
							during(t, w.live, at, func(s *shifting) { w.do(s, c.do) }, look)
						})
					}
				}
				t.Logf("%d of %d calls and changes", tried, calls*len(betweenChanges))
			})
		}
	}
}
