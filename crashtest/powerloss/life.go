//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/durability"
)

// life is one run of the workload, recorded.
type life struct {
	rec    *blockdev.Recording
	index  *blockdev.Index
	epochs []blockdev.Epoch
	seed   uint64
	beginning
	marks  []campaign.Known // by how many acknowledgements had been heard, behind first
	broken *campaign.Broken // what the workload itself ran into

	bystanders int64 // syncs of unrelated files beside it

	mu     sync.Mutex
	reads  map[int]map[int64]bool // blocks that checks of an epoch's states read
	readIn []int                  // the epochs that reads knows
}

// known returns what was known when so many acknowledgements had been heard.
func (l *life) known(acks int) campaign.Known {
	if acks == 0 {
		return l.first
	}
	return l.marks[acks-1]
}

// noTracer is the tracer of lives of which the disk sees enough.
type noTracer struct{}

// Trace implements durability.Tracer.
func (noTracer) Trace(durability.Event) {}

// recorder notes what is known, and acknowledges each note to the disk.
type recorder struct {
	mu    sync.Mutex
	pipe  *os.File
	now   campaign.Known
	marks []campaign.Known
	err   error
}

// note implements campaign.Life.Note.
func (r *recorder) note(k campaign.Known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = k
	r.marks = append(r.marks, k)
	// One call, so that the disk never drains a part of it.
	if _, err := r.pipe.WriteString("ack " + strconv.Itoa(len(r.marks)) + "\n"); err != nil {
		r.err = errors.Join(r.err, err)
	}
}

// get implements campaign.Life.Now.
func (r *recorder) get() campaign.Known {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// beginning is what a life begins with.
type beginning struct {
	view  blockdev.View
	key   uint64         // of the content
	first campaign.Known // nil: an empty filesystem
	from  *state         // the cut that left it; nil where there was none, or nobody knows it
	seen  *seen          // contents
}

// begin returns the beginning of a life on an empty filesystem.
func (l *lab) begin() beginning { return beginning{view: l.base, seen: newSeen()} }

// begin returns the beginning of a life that goes on from a state.
func (s *state) begin() beginning {
	return beginning{view: s.view(), key: s.key, first: campaign.After(s.life.known(s.most()), false), from: s, seen: s.life.seen}
}

// The directories on each disk: the subject's, and that of a file that has nothing to do with it.
const (
	subjectName   = "dir"
	bystanderName = "bystander"
)

// subjectDir returns the subject's directory on a disk.
func subjectDir(d *blockdev.Disk) string { return filepath.Join(d.Path(), subjectName) }

// acksOf returns the file of acknowledgements that belongs to a subject's directory. It is not on
// the disk.
func acksOf(dir string) string { return filepath.Join(filepath.Dir(filepath.Dir(dir)), "acks") }

// record lives a life on a disk, and records it. What the workload ran into is in the life.
func (l *lab) record(ctx context.Context, d *blockdev.Disk, seed uint64, b beginning) (*life, error) {
	own := &life{seed: seed, beginning: b, reads: map[int]map[int64]bool{}}
	rng := rand.New(rand.NewPCG(seed, 0xb5))
	beside := l.beside(rng)
	err := d.Record(b.view)
	if err == nil {
		err = l.fs.mountWith(d, beside.options)
	}
	if err != nil {
		return nil, err
	}
	stop := beside.start(d, rng)
	err = l.live(ctx, d, own)
	if errors.Is(err, kill.ErrWorkload) && b.from != nil {
		// The program does not go on from what a cut has left.
		own.broken, err = &campaign.Broken{Kind: campaign.Misjudged, What: err.Error()}, nil
	}
	err = errors.Join(err, stop())
	if err == nil {
		beside.end(ctx)
		own.rec, err = d.Cut()
	}
	if err == nil && own.broken == nil && own.from == nil {
		err = l.tryCheck(subjectDir(d), own.rec.Acks)
	}
	if err = errors.Join(err, d.Discard()); err != nil {
		return nil, err
	}
	if err = own.rec.Prove(); err != nil {
		return nil, err
	}
	own.epochs, own.index = own.rec.Epochs(), own.rec.Index()
	l.noteAcks(own)
	if len(own.marks) != len(own.rec.Acks) {
		return nil, fmt.Errorf("powerloss: the disk has heard %d acknowledgements of %d", len(own.rec.Acks), len(own.marks))
	}
	own.bystanders = beside.synced
	return own, nil
}

// lived counts a life of which states are made.
func (l *lab) lived(own *life) {
	l.run.Live()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work += int64(len(own.rec.Events))
	l.bystanders += own.bystanders
}

// noteAcks notes what was known of a program, by what it has acknowledged.
func (l *lab) noteAcks(own *life) {
	if !l.o.isProgram() {
		return
	}
	acks, _ := own.first.(campaign.Acks)
	all := append(acks[:len(acks):len(acks)], own.rec.Acks...)
	for i := range own.rec.Acks {
		own.marks = append(own.marks, all[:len(acks)+i+1])
	}
}

// tryCheck asks a program's checks what they say of what a workload has left, before any power
// is cut: where they refuse that, what they say after a cut is worth nothing. They may change
// what is there; that is not recorded. Of a program that acknowledges nothing the check is asked
// whether what is there is legal.
func (l *lab) tryCheck(dir string, acks campaign.Acks) error {
	if !l.o.isProgram() || l.tried {
		return nil
	}
	l.tried = true
	if len(acks) == 0 && l.o.Program.Legal == "" {
		l.note("the workload has acknowledged nothing, in " + l.o.Long.String() + " (--run): so --check is asked whether what is there is legal")
		l.o.Program.Legal, l.noAcks = l.o.Program.Check, true
		l.subject = l.o.Program.Subject(l.run.Context().Done(), acksOf)
	}
	found, err := l.subject.Recover(dir)
	if err != nil {
		return err
	}
	broken := campaign.Check(found, acks, false)
	if err = kill.CheckError(found); err != nil || broken == nil || l.run.Context().Err() != nil {
		return err
	}
	return fmt.Errorf("%w: it refuses what the workload has left, before any power was cut: %s", kill.ErrCheck, broken.What)
}

// live runs the workload.
func (l *lab) live(ctx context.Context, d *blockdev.Disk, own *life) (err error) {
	pipe, err := d.Listen()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pipe.Close()) }()
	dir := subjectDir(d)
	if l.o.isProgram() {
		before, _ := own.first.(campaign.Acks)
		text := strings.Join(before, "\n")
		if len(before) > 0 {
			text += "\n"
		}
		if err = os.WriteFile(acksOf(dir), []byte(text), 0o600); err != nil {
			return err
		}
		return l.o.Program.Record(ctx, dir, acksOf(dir), pipe, l.o.Long, l.starter())
	}
	r := &recorder{pipe: pipe, now: own.first}
	if !l.o.isWatched() {
		defer l.o.Mutate.In(dir)()
	}
	werr := l.subject.Workload(&campaign.Life{
		Dir: dir, Seed: own.seed, Rand: rand.New(rand.NewPCG(own.seed, 0x11fe)), Tracer: noTracer{}, Known: own.first, Note: r.note, Now: r.get,
	})
	own.marks = r.marks
	if werr != nil && !errors.As(werr, &own.broken) {
		return errors.Join(fmt.Errorf("powerloss: a life of %s with seed %d: %w", l.subject.Name(), own.seed, werr), r.err)
	}
	return r.err
}

// starter returns what starts a program: with what is to be left out of it.
func (l *lab) starter() kill.Starter {
	if len(l.o.Mutate) == 0 {
		return nil
	}
	return l.weak.Start
}

// sawReads notes which blocks a check of an epoch's state read.
func (l *life) sawReads(epoch int, blocks []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reads[epoch] == nil {
		l.reads[epoch] = make(map[int64]bool, len(blocks))
		l.readIn = append(l.readIn, epoch)
	}
	for _, b := range blocks {
		l.reads[epoch][b] = true
	}
}

// aReadEpoch chooses an epoch of which a state was checked.
func (l *life) aReadEpoch(rng *rand.Rand) (epoch int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.readIn) == 0 {
		return 0, false
	}
	return l.readIn[rng.IntN(len(l.readIn))], true
}

// wasRead reports whether a check of an epoch's state read a block that a request
// changes.
func (l *life) wasRead(epoch, event int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.rec.Events[event]
	for n := e.Off / blockdev.BlockBytes; n*blockdev.BlockBytes < e.Off+e.Length; n++ {
		if l.reads[epoch][n] {
			return true
		}
	}
	return false
}
