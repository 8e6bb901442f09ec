//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// campaignName is the name of these campaigns, in results and tokens.
const campaignName = "power"

// disksPerCore is how many states are checked at once on each core: mounting
// waits, for grace periods of the kernel and for its workers, more than it works.
const disksPerCore = 3

// lab is a campaign on its way, on one filesystem.
type lab struct {
	o        Options
	fs       Filesystem
	subject  campaign.Subject
	run      *campaign.Run
	disks    *blockdev.Lab
	checkers int           // so many of them check states
	base     blockdev.View // an empty filesystem
	release  func()        // the processors that it asked for
	weak     kill.Weakener // of a program
	marks    marks
	tried    bool // the program's check, on a state that it has to accept
	noAcks   bool // the program has acknowledged nothing when it was tried

	mu         sync.Mutex
	by         [classes]campaign.Class
	times      times
	notes      []string
	bystanders int64 // syncs of unrelated files

	refusals int64 // states that the filesystem does not mount
	refusal  *campaign.Finding
	work     int64 // requests that were recorded
}

// Run cuts the power until its limits are reached, and returns what it did; also
// with an error, which says why the campaign could not go on. That the context
// ends is none.
func Run(ctx context.Context, o Options) (*campaign.Result, error) {
	r, _, err := runCuts(ctx, o)
	return r, err
}

// runCuts is Run, and tells which marks were asked for.
func runCuts(ctx context.Context, o Options) (*campaign.Result, []Mark, error) {
	if o.Filesystem.IsPOSIX() {
		return runPOSIX(ctx, o)
	}
	l, err := openWith(ctx, o, 1)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.close() }() // in a panic
	err = l.campaign()
	err = errors.Join(err, l.close())
	l.run.Over() // says why, if the context has ended
	return l.result(), l.asked(), err
}

// open begins a campaign: it starts the disks and makes the filesystem.
func open(ctx context.Context, o Options) (*lab, error) { return openWith(ctx, o, 0) }

// openWith is open with so many disks more, which check no states.
func openWith(ctx context.Context, o Options, more int) (*lab, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Cores <= 0 {
		o.Cores = runtime.NumCPU()
	}
	l := newLab(ctx, o)
	n := o.Disks
	if n == 0 {
		n = disksPerCore * l.run.Cores()
	}
	sizes := make([]int64, n+more)
	for i := range sizes {
		sizes[i] = l.fs.Bytes
	}
	if l.disks, err = blockdev.Open(o.Dir, sizes...); err != nil {
		return nil, err
	}
	l.checkers = n
	l.release = moreProcessors(n + more + l.run.Cores())
	if err = l.makeBase(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// newLab returns a campaign without disks, of options that were checked.
func newLab(ctx context.Context, o Options) *lab {
	limits := o.Limits
	limits.All = true // it ends by itself when there is nothing more to find
	l := &lab{o: o, fs: o.Filesystem, subject: o.Subject, run: campaign.Begin(ctx, limits), marks: marks{all: o.All, missed: map[Mark]bool{}}}
	l.weak.Mutations = o.Mutate
	switch {
	case o.isWatched():
		l.subject = &files.Subject{Program: o.Program, Long: o.Long, Over: ctx, Acks: acksOf, Weak: &l.weak}
	case o.isProgram():
		l.subject = o.Program.Subject(ctx.Done(), acksOf)
	}
	for c := range l.by {
		l.by[c].Name = className[c]
	}
	return l
}

// close releases all that the campaign has.
func (l *lab) close() error {
	l.release()
	return l.disks.Close()
}

// makeBase makes an empty filesystem, which all lives begin with.
func (l *lab) makeBase() error {
	d := l.disks.Disks[0]
	err := d.Make(l.fs.Make[0], l.fs.Make[1:]...)
	if err == nil {
		err = l.fs.mount(d)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{subjectName, bystanderName} {
		err = errors.Join(err, os.Mkdir(filepath.Join(d.Path(), name), 0o755))
	}
	if err = errors.Join(err, d.Unmount()); err != nil { // and so all of it is durable
		return err
	}
	r, err := d.Cut()
	if err == nil {
		err = r.Prove()
	}
	if err != nil {
		return err
	}
	l.base = r.End()
	return nil
}

// campaign lives lives and checks what cuts leave of them.
func (l *lab) campaign() error {
	c := newSchedule(l)
	defer c.end()
	err := l.onAll(func(d *blockdev.Disk) error {
		failed := true
		defer func() {
			if failed { // or has panicked: the other disks end, too
				c.stop()
			}
		}()
		for {
			s, f, err := c.next()
			if err != nil {
				return err
			}
			if s == nil {
				break
			}
			err = l.step(d, s, f)
			if err = errors.Join(err, c.done(f)); err != nil {
				return err
			}
		}
		failed = false
		return nil
	})
	if l.run.Context().Err() != nil {
		return nil
	}
	return err
}

// onAll calls fn with each disk that checks states, at once.
func (l *lab) onAll(fn func(*blockdev.Disk) error) error {
	var all sync.WaitGroup
	errs, panics := make([]error, l.checkers), make([]any, l.checkers)
	for i, d := range l.disks.Disks[:l.checkers] {
		all.Go(func() {
			defer func() { panics[i] = recover() }()
			errs[i] = fn(d)
		})
	}
	all.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	return errors.Join(errs...)
}

// everySecond is of how many states one is lived on from, and cut again.
const everySecond = 20

// step checks a state, and lives on from some.
func (l *lab) step(d *blockdev.Disk, s *state, f *feed) error {
	broken, fresh, err := l.check(d, s)
	if err != nil || l.run.Context().Err() != nil {
		return err
	}
	l.count(s, fresh && (broken == nil || broken.Kind != Refused))
	if broken != nil {
		f.end(broken)
		return l.foundState(d, s, broken)
	}
	if !fresh {
		return nil // what is not mounted now may not be mountable
	}
	f.mu.Lock()
	f.steps++
	second := !l.o.Once && f.steps%everySecond == everySecond/2
	f.mu.Unlock()
	if second {
		return l.second(d, s, f)
	}
	return nil
}

// count counts a state.
func (l *lab) count(s *state, fresh bool) {
	distinct := int64(0)
	if fresh {
		if !l.run.AddOne() { // other disks were faster
			return
		}
		distinct = 1
	} else {
		l.run.Add(1, 0)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[s.class].States++
	l.by[s.class].Count += distinct
}

// secondStates is how many states of a second cut are checked.
const secondStates = 12

// second goes on from a state, with the filesystem's recovery and the program's,
// and cuts the power again in the midst of it.
func (l *lab) second(d *blockdev.Disk, s *state, f *feed) error {
	own, err := l.record(l.run.Context(), d, s.life.seed^s.key>>1, s.begin())
	if err != nil {
		return err
	}
	l.lived(own)
	defer func() { _ = l.disks.Drop(own.rec.ID) }() // the server ends with its lab
	if own.broken != nil {
		f.end(own.broken)
		return l.foundLife(d, own)
	}
	m := newMaker(own, rand.New(rand.NewPCG(own.seed, 0x9d)))
	for range secondStates {
		next := m.next()
		if next == nil || l.run.Over() {
			return nil
		}
		next.class = secondCut
		broken, fresh, err := l.check(d, next)
		if err != nil || l.run.Context().Err() != nil {
			return err
		}
		l.count(next, fresh && (broken == nil || broken.Kind != Refused))
		if broken != nil {
			f.end(broken)
			return l.foundState(d, next, broken)
		}
	}
	return nil
}

// result returns what was done.
func (l *lab) result() *campaign.Result {
	r := l.run.Result(campaignName)
	r.Filesystem = l.fs.Name
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.by {
		if l.o.Once && class(c) == secondCut {
			continue
		}
		r.Classes = append(r.Classes, l.by[c])
	}
	r.Finish(l.run.Began())
	if len(r.Missing) > 0 { // what a workload writes may have none of it
		r.Notes = append(r.Notes, "there was no state of: "+strings.Join(r.Missing, ", "))
		r.Unreached, r.Missing = r.Missing, nil
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%s recorded; an unrelated file was synced %s beside them",
		counted(int(l.work), "request"), counted(int(l.bystanders), "time")))
	if n := time.Duration(l.times.N); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("a check took: fork %v, mount %v, check %v, unmount %v; %d at once",
			round(l.times.Fork/n), round(l.times.Mount/n), round(l.times.Check/n), round(l.times.Unmount/n), l.checkers))
	}
	if l.refusal != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("%s refuses %s itself, which is no finding of the program's; the first: %s: without %s",
			l.fs.Name, counted(int(l.refusals), "state"), l.refusal.Summary, strings.Join(l.refusal.Lost, "; ")))
	}
	if s, ok := l.subject.(*files.Subject); ok {
		r.Notes = append(r.Notes, s.Counts().String())
	}
	l.noteSkipped(r)
	r.Notes = append(r.Notes, l.notes...)
	return r
}

// noteSkipped notes how many of a program's calls were left out.
func (l *lab) noteSkipped(r *campaign.Result) {
	if l.o.Program.Workload == "" || len(l.o.Mutate) == 0 {
		return
	}
	r.Notes = append(r.Notes, fmt.Sprintf("of the workload's calls %d were left out", l.weak.Skipped()))
	if l.weak.Skipped() == 0 {
		r.Unverified = append(r.Unverified, "the workload has made none of the calls that are left out: "+strings.Join(l.o.Mutate, ", "))
	}
}

// round rounds a time for people.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
