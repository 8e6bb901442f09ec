//go:build linux

package model

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// recording is one life, recorded.
type recording struct {
	subject campaign.Subject
	seed    uint64
	root    string
	exact   bool // lived by order
	dir     *director
	rec     *durabilitytest.Recorder

	mu    sync.Mutex
	marks []mark

	events []durability.Event
	depth  int    // 0 for a life that began in an empty directory
	path   []step // how the states came about in which it began
	first  campaign.Known
	killed bool // that death was of the process
	mutate campaign.Mutations

	base      durabilitytest.Files // what was durable before all events; nil for nothing
	inherited int                  // how many events are of processes that have died
}

// mark is what was known from an event, and from a turn, on.
type mark struct {
	at    int
	turn  int
	known campaign.Known
}

// step is one crash on the way to a state.
type step struct {
	Seed   uint64  `json:"d"`
	At     int     `json:"a"`
	Shape  string  `json:"h"`
	Script *script `json:"s,omitempty"` // of a life that is not exact
	// Choices are pairs of a piece and its option; the others are newest.
	Choices [][2]int `json:"c,omitempty"`
	// Killed says that the process died, with so many bytes of the last store
	// done; the choices are void.
	Killed bool `json:"k,omitempty"`
	Torn   int  `json:"t,omitempty"`

	// Cache says that what the dead process had not synced is not durable for the
	// life that follows. Tokens made before that was done do not have it.
	Cache bool `json:"u,omitempty"`
}

// begin is in what a life begins.
type begin struct {
	files  durabilitytest.Files // nil: in an empty directory
	known  campaign.Known
	killed bool
	death  *death // by which the files came about, if they are not durable
	path   []step
	exact  bool    // it is lived by order
	script *script // to follow, where it is not
	quick  bool    // few of its states are checked
	mutate campaign.Mutations
}

// Lossy is a subject some of whose syncs fail, and are lossy then: no later sync
// brings to the device what a failed one covered, as Linux does it.
type Lossy interface{ LosesFailedSyncs() bool }

// live runs a life and records it. A *campaign.Broken error is a finding; the
// recording is returned all the same. The life runs in a goroutine of its own, for two
// reasons: the goroutines that it starts can be told from others, and a life in which
// all of them wait for each other can be ended. Those goroutines are then leaked.
func live(s campaign.Subject, seed uint64, scratch string, b begin) (*recording, error) {
	var lived *recording
	var err error
	begun, done := make(chan *recording, 1), make(chan struct{})
	go func() {
		defer close(done)
		lived, err = liveHere(s, seed, scratch, b, begun)
	}()
	select {
	case <-done:
		return lived, err
	case r := <-begun:
		if where := r.dir.awaitDeadlock(done); where != "" {
			r.dir.stop()
			r.events = r.rec.Events()
			return r, &campaign.Broken{Kind: campaign.Stuck, What: "each goroutine waits for another one: " + where}
		}
	}
	<-done
	return lived, err
}

func liveHere(s campaign.Subject, seed uint64, scratch string, b begin, begun chan<- *recording) (*recording, error) {
	root, err := os.MkdirTemp(scratch, "life-")
	if err != nil {
		return nil, err
	}
	d := newDirector(b.script, b.exact, seed)
	defer d.stop() // its guard, too
	if l, ok := s.(Lossy); ok && l.LosesFailedSyncs() {
		d.rec.LoseOnFailedSync()
	}
	r := &recording{
		subject: s, seed: seed, root: root, exact: b.exact, dir: d, rec: d.rec, depth: len(b.path), path: b.path,
		first: b.known, killed: b.killed, mutate: b.mutate, marks: []mark{{known: b.known}},
	}
	if b.files != nil {
		if err = r.prepare(&b); err != nil {
			return nil, errors.Join(err, r.discard())
		}
	}
	begun <- r
	l := &campaign.Life{
		Dir: root, Seed: seed, Rand: rand.New(rand.NewPCG(seed, 0x11fe)), Tracer: d,
		Known: b.known, Killed: b.killed, Note: r.note, Now: r.now, Settle: d.settle,
		Exact: b.exact, Pause: d.pause,
	}
	end := b.mutate.In(root)
	err = s.Workload(l)
	end()
	d.stop()
	r.events = d.rec.Events()
	if d.lost {
		return nil, errors.Join(errLost, r.discard())
	}
	if err == nil {
		err = r.faithful()
	}
	var broken *campaign.Broken
	if err != nil && !errors.As(err, &broken) {
		return nil, errors.Join(fmt.Errorf("model: a life of %s with seed %d: %w", s.Name(), seed, err), r.discard())
	}
	return r, err
}

// prepare puts the files in place with which the life begins.
func (r *recording) prepare(b *begin) error {
	err := b.files.WriteTo(r.root)
	switch {
	case err != nil:
	case b.death == nil:
		r.base = b.files
		err = r.rec.BaseFiles(r.root, b.files)
	default:
		r.base = b.death.of.base
		err = b.death.inherit(r.rec, r.root)
		r.inherited = r.rec.Len()
	}
	return err
}

// discard removes the life's files.
func (r *recording) discard() error { return os.RemoveAll(r.root) }

// note is campaign.Life.Note.
func (r *recording) note(k campaign.Known) {
	r.dir.turn(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.marks = append(r.marks, mark{at: r.rec.Len(), turn: len(r.dir.turns), known: k})
	})
}

// now is campaign.Life.Now.
func (r *recording) now() campaign.Known {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.marks[len(r.marks)-1].known
}

// known returns what was known when the first at events had happened, and the
// number of that mark.
func (r *recording) known(at int) (campaign.Known, int) {
	i := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].at > at }) - 1
	return r.marks[i].known, i
}

// turns returns how many turns were made when the first at events had happened,
// and all notes that count there.
func (r *recording) turns(at int) int {
	_, i := r.known(at)
	return at - r.inherited + i // a turn for each event, and for each mark but the first
}

// recovered returns the position behind which the life went on after its
// recovery: that of its first note.
func (r *recording) recovered() int {
	if len(r.marks) > 1 {
		return r.marks[1].at
	}
	return len(r.events)
}

// faithful compares the replay of the whole trace with the real files.
func (r *recording) faithful() error {
	real, err := durabilitytest.ReadFiles(r.root)
	if err != nil {
		return err
	}
	replay := r.rec.Final(r.root)
	if !slices.Equal(real.Names(), replay.Names()) {
		return &campaign.Broken{Kind: campaign.Unfaithful, What: fmt.Sprintf(
			"the directory has the files %v, by the trace it has %v", real.Names(), replay.Names())}
	}
	for _, name := range real.Names() {
		if bytes.Equal(real[name], replay[name]) {
			continue
		}
		want, got := real[name], replay[name]
		i := 0
		for i < min(len(want), len(got)) && want[i] == got[i] {
			i++
		}
		return &campaign.Broken{Kind: campaign.Unfaithful, What: fmt.Sprintf(
			"%s, %d bytes, differs at byte %d from what the trace says, %d bytes: something wrote to it unseen", name, len(want), i, len(got))}
	}
	return nil
}

// sum is a checksum in text.
type sum struct{ crc uint32 }

func newSum() *sum { return &sum{} }

// Write implements io.Writer.
func (s *sum) Write(p []byte) (int, error) {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, p)
	return len(p), nil
}

func (s *sum) text() string { return strconv.FormatUint(uint64(s.crc), 36) }

// scratchDir makes the directory for all scratch files of a campaign. States
// are made in memory where that is to be had: nothing in them has to survive
// anything.
func scratchDir(dir string) (string, error) {
	if dir == "" {
		dir = os.TempDir()
		if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() && os.Getenv("TMPDIR") == "" {
			dir = "/dev/shm"
		}
	}
	path, err := os.MkdirTemp(dir, "seawall-model-")
	if err != nil {
		return "", err
	}
	return filepath.Clean(path), nil
}

// remove removes scratch files. An error is ignored here: what is left is removed with
// the campaign's directory, and an error of that removal is returned.
func remove(dir string) { _ = os.RemoveAll(dir) }
