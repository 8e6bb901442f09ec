//go:build linux

package kill

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// childEnv is the environment variable that makes a process a child of the lab:
// what it is to live, as JSON.
const childEnv = "SEAWALL_KILL_CHILD"

// The descriptors that a child is born with, besides the usual three.
const (
	childBoards = 3
	childPipe   = 4
)

// childArgs are what a child is to live.
type childArgs struct {
	Subject string      `json:"subject"`
	Lives   []childLife `json:"lives"`

	Mutate campaign.Mutations `json:"mutate,omitempty"`
}

// childLife is one of its lives. What is known when it begins is in its shared memory.
type childLife struct {
	Dir    string `json:"dir"`
	Seed   uint64 `json:"seed"`
	Aim    *Aim   `json:"aim,omitempty"`
	Killed bool   `json:"killed"`
}

// IsChild reports whether a campaign has started this process as its child.
func IsChild() bool { return os.Getenv(childEnv) != "" }

// BeChild must be called first by every program that runs campaigns. In a
// process that a campaign started as its child it lives what that asks for, until
// it is killed; in any other it does nothing, and neither does it where it is not
// given the subject that is asked for.
//
// A test needs no call of its own: Run is one too, for its Options.Subject, when
// the child comes to it by TestArgs.
func BeChild(subjects ...campaign.Subject) {
	if !IsChild() {
		return
	}
	var args childArgs
	err := json.Unmarshal([]byte(os.Getenv(childEnv)), &args)
	if err == nil {
		i := slices.IndexFunc(subjects, func(s campaign.Subject) bool { return s.Name() == args.Subject })
		if i < 0 {
			return
		}
		err = beChild(subjects[i], args)
	}
	endChild(err)
}

// endChild ends a child that has nothing to live.
func endChild(err error) {
	fmt.Fprintln(os.Stderr, "kill: child:", err)
	os.Exit(1)
}

// errNoSubject reports a child that has come to the wrong campaign.
var errNoSubject = errors.New("this campaign is not about the subject that is asked for: give BeChild all of them, or the campaign Args that lead to it")

// mustNotBeChild ends a child that comes to a campaign which is not its own: it
// would start children in turn.
func mustNotBeChild(s campaign.Subject) {
	if s != nil {
		BeChild(s)
	}
	if IsChild() {
		endChild(errNoSubject)
	}
}

// TestArgs returns the Options.Args of a campaign that a test runs, by the test's
// name (testing.T.Name): its children come to the same call. The test must come
// to no other campaign before.
func TestArgs(name string) []string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return []string{"-test.run=" + strings.Join(parts, "/"), "-test.count=1", "-test.timeout=0", "-test.parallel=1"}
}

// beChild lives all lives at once, and waits to be killed when they are over.
func beChild(subject campaign.Subject, args childArgs) error {
	bs, err := mapBoards(os.NewFile(childBoards, "boards"), len(args.Lives))
	if err != nil {
		return err
	}
	pipe := os.NewFile(childPipe, "pipe")
	if args.Lives[0].Aim != nil {
		// A thread that is stopped within a copy would never let the collector begin.
		debug.SetGCPercent(-1)
	}
	var lives sync.WaitGroup
	for n, l := range args.Lives {
		lives.Go(func() {
			if l.Aim != nil {
				awaitOthers(bs.list)
			}
			live(subject, l, args.Mutate, bs.list[n], pipe)
		})
	}
	lives.Wait()
	for {
		time.Sleep(time.Hour) // the lab kills it
	}
}

// awaitOthers lets the other lives get to work before one begins that ends them
// all, for a while.
func awaitOthers(list []*board) {
	for range 100 {
		waiting := slices.ContainsFunc(list[1:], func(b *board) bool { return b.at(wordState).Load() == stateNone })
		if !waiting {
			return
		}
		time.Sleep(time.Millisecond / 2)
	}
}

// live lives one life.
func live(s campaign.Subject, l childLife, mutate campaign.Mutations, b *board, pipe *os.File) {
	// Both are numbers of a workload that has ended; the lab may be gone.
	tell := func(what byte) { _, _ = pipe.Write([]byte{what}) }
	defer tell(toldDone)
	codec := CodecOf(s)
	st := &stage{b: b, aim: l.Aim, placeOf: placeByOp}
	if p, ok := s.(Placer); ok {
		st.placeOf = p.PlaceOf
	}
	st.b.at(wordPlace).Store(Between.index())
	var began campaign.Known
	if data := b.known(); data != nil {
		var err error
		if began, err = codec.ParseKnown(data); err != nil {
			fail(b, err)
			return
		}
	}
	n := &notes{codec: codec, board: b, now: began, first: func() { tell(toldAtWork) }}
	n.base = countsOf(s, began).Appended
	n.counts = func(k campaign.Known) uint64 { return countsOf(s, k).Appended }
	life := &campaign.Life{
		Dir: l.Dir, Seed: l.Seed, Rand: rand.New(rand.NewPCG(l.Seed, 1)), Tracer: st,
		Known: began, Killed: l.Killed, Note: n.note, Now: n.get,
	}
	defer mutate.In(l.Dir)()
	if err := s.Workload(life); err != nil {
		fail(b, err)
		return
	}
	b.at(wordState).Store(stateDone)
}

// fail says why a workload has ended.
func fail(b *board, err error) {
	var broken *campaign.Broken
	if errors.As(err, &broken) {
		if text, jerr := json.Marshal(broken); jerr == nil {
			b.setText(string(text))
			b.at(wordState).Store(stateBroken)
			return
		}
	}
	b.setText(err.Error())
	b.at(wordState).Store(stateFailed)
}

// notes keep what is known of a life.
type notes struct {
	codec  Codec
	board  *board
	first  func()
	counts func(campaign.Known) uint64
	base   uint64

	mu     sync.Mutex
	now    campaign.Known
	buffer []byte
	atWork bool
}

// note implements Life.Note.
func (n *notes) note(k campaign.Known) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var err error
	if n.buffer, err = n.codec.AppendKnown(n.buffer[:0], k); err == nil {
		err = n.board.note(n.buffer)
	}
	if err != nil {
		panic(err) // the lab shows it: the process dies of it
	}
	n.now = k
	if !n.atWork && n.counts(k) != n.base {
		n.atWork = true
		n.board.at(wordState).Store(stateAtWork)
		n.first()
	}
}

// get implements Life.Now.
func (n *notes) get() campaign.Known {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}
