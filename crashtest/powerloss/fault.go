//go:build linux

package powerloss

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// faultName is the name of campaigns of faults, in results and tokens.
const faultName = "fault"

// FaultResult is what a campaign of faults did and found, in sum and on each filesystem.
type FaultResult struct {
	*campaign.Result
	Results []*campaign.Result `json:"results"`

	// Faults say how the lives ended in which the disk failed in one way, on each filesystem.
	Faults []FaultOutcome `json:"faults"`
}

// FaultOutcome is how the lives ended of one fault on one filesystem.
type FaultOutcome struct {
	Filesystem string `json:"filesystem"`
	Fault      string `json:"fault"`

	Lives   int64 `json:"lives"`    // in which the disk was to fail
	Met     int64 `json:"met"`      // and did
	Noticed int64 `json:"noticed"`  // the workload, or the recovery, ended with an error
	Stopped int64 `json:"stopped"`  // the filesystem took no more writes afterwards
	Refused int64 `json:"refused"`  // it could not be mounted afterwards
	Broken  int64 `json:"findings"` // what was acknowledged was not there, or something illegal was
}

// faultKind is a way in which the disk fails.
type faultKind struct {
	place  place
	effect blockdev.Effect
	always bool // from then on
}

// place is a kind of requests.
type place string

// The places. What lies in a file or directory of the subject is data; the journal is what the
// filesystem replays when it is mounted.
const (
	inData     place = "data"
	inJournal  place = "the journal"
	inMetadata place = "metadata"
	anyWrite   place = "any write"
	aFlush     place = "a flush"
	aRead      place = "a read of recovery"
)

// faultKinds are all of them. A device that is provisioned thinly has no space while the
// filesystem thinks that it has.
var faultKinds = []faultKind{
	{inData, blockdev.EIO, false},
	{inData, blockdev.EIO, true},
	{inJournal, blockdev.EIO, false},
	{inJournal, blockdev.EIO, true},
	{inMetadata, blockdev.EIO, false},
	{inMetadata, blockdev.EIO, true},
	{aFlush, blockdev.EIO, false},
	{aFlush, blockdev.EIO, true},
	{anyWrite, blockdev.ENOSPC, true},
	{aRead, blockdev.EIO, false},
	{aRead, blockdev.EIO, true},
}

// String names the kind, for tables.
func (k faultKind) String() string {
	words := fmt.Sprintf("%s on %s", k.effect, k.place)
	if k.always {
		return words + ", from then on"
	}
	return words
}

// RunFaults runs a campaign of faults on each filesystem, one after the other, with an equal share
// of the limits. The disk fails one request of a workload, or all from one on; then it works
// again, and what the program finds is checked twice: on the filesystem as it goes on, whose cache
// may hold what the disk does not, and after a power cut. What was acknowledged has to be there
// both times. A state is a life in which the disk has failed.
func RunFaults(ctx context.Context, o Options, filesystems []Filesystem) (*FaultResult, error) {
	all := &FaultResult{}
	r, err := runEach(ctx, o, filesystems, func(ctx context.Context, o Options) (*campaign.Result, error) {
		one, outcomes, err := runFaults(ctx, o)
		all.Faults = append(all.Faults, outcomes...)
		return one, err
	})
	r.Campaign = faultName
	all.Result, all.Results = r.Result, r.Results
	return all, err
}

// faultLab is a campaign of faults in progress, on one filesystem.
type faultLab struct {
	*lab
	outcomes []FaultOutcome // of faultKinds
	next     atomic.Uint64  // plan
}

func runFaults(ctx context.Context, o Options) (*campaign.Result, []FaultOutcome, error) {
	o.NoBystander = true // it would fail, too
	l, err := open(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.close() }() // in a panic
	f := &faultLab{lab: l}
	for _, k := range faultKinds {
		f.outcomes = append(f.outcomes, FaultOutcome{Filesystem: l.fs.Name, Fault: k.String()})
	}
	err = l.onAll(func(d *blockdev.Disk) error {
		for !l.run.Over() {
			if perr := f.plan(d, f.next.Add(1)); perr != nil {
				return perr
			}
		}
		return nil
	})
	if l.run.Context().Err() != nil {
		err = nil
	}
	err = errors.Join(err, l.close())
	l.run.Over() // says why, if the context has ended
	r := l.run.Result(faultName)
	r.Filesystem = l.fs.Name
	for _, one := range f.outcomes {
		r.Count(one.Fault, one.Met)
	}
	r.Finish(l.run.Began())
	if len(r.Missing) > 0 { // some have no such requests, and some lives end before
		r.Notes = append(r.Notes, "the disk did not come to: "+strings.Join(r.Missing, ", "))
		r.Unreached, r.Missing = r.Missing, nil
	}
	r.Notes = append(r.Notes, l.notes...)
	return r, f.outcomes, err
}

// plan lives a life without a fault, chooses by it where the disk is to fail, and lives it again
// with each kind of fault.
func (f *faultLab) plan(d *blockdev.Disk, number uint64) error {
	seed := rand.New(rand.NewPCG(f.o.Seed, number)).Uint64() >> 1
	f.run.Live()
	own, err := f.record(f.run.Context(), d, seed, f.begin())
	if err != nil {
		return err
	}
	defer func() { _ = f.disks.Drop(own.rec.ID) }() // the server ends with its lab
	if own.broken != nil {
		return f.foundLife(d, own)
	}
	places, err := f.placesOf(d, own)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, 0xfa))
	order := rng.Perm(len(faultKinds))
	for _, i := range order {
		if f.run.Over() {
			return nil
		}
		kind := faultKinds[i]
		if kind.place == aRead {
			err = f.readLife(d, own, i, rng)
		} else if at, ok := choose(own, places, kind, rng); ok {
			err = f.writeLife(d, seed, i, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// placesOf tells what the writes of a recording are to.
func (f *faultLab) placesOf(d *blockdev.Disk, own *life) (map[place][]int, error) {
	a, err := f.atlas(d, own.rec.End())
	if err != nil {
		return nil, err
	}
	places := map[place][]int{}
	for n := range own.rec.Events {
		e := &own.rec.Events[n]
		switch e.Op {
		case blockdev.Flush:
			places[aFlush] = append(places[aFlush], n)
		case blockdev.Write:
			p := a.placeOf(e.Off / blockdev.BlockBytes)
			places[p] = append(places[p], n)
			places[anyWrite] = append(places[anyWrite], n)
		}
	}
	return places, nil
}

// placeOf tells what a block belongs to.
func (a *atlas) placeOf(block int64) place {
	if _, ok := a.inFile(block, block); ok {
		return inData
	}
	switch words := a.inMetadata(block); {
	case strings.HasPrefix(words, "the journal"), strings.HasPrefix(words, "the log"), strings.Contains(words, btrfsTreeLog):
		return inJournal
	case words != "":
		return inMetadata
	}
	return inData // of a file that is gone
}

// choose chooses a request of a recording, and returns the fault that meets it when the life is
// lived again: requests come in about the same order then.
func choose(own *life, places map[place][]int, kind faultKind, rng *rand.Rand) (blockdev.Fault, bool) {
	list := places[kind.place]
	if len(list) == 0 {
		return blockdev.Fault{}, false
	}
	nth := rng.IntN(len(list))
	e := &own.rec.Events[list[nth]]
	at := blockdev.Fault{Op: e.Op, Effect: kind.effect, Always: kind.always, Nth: nth + 1}
	switch kind.place {
	case inJournal: // where its next record goes depends on those before
		from, to := e.Off, e.Off+e.Length
		for _, n := range list {
			from, to = min(from, own.rec.Events[n].Off), max(to, own.rec.Events[n].Off+own.rec.Events[n].Length)
		}
		at.Off, at.Length = from, to-from
	case inData, inMetadata:
		at.Off, at.Length, at.Nth = e.Off, e.Length, 1
		for _, n := range list[:nth] {
			if o := &own.rec.Events[n]; o.Off < e.Off+e.Length && e.Off < o.Off+o.Length {
				at.Nth++
			}
		}
	}
	return at, true
}

// writeLife lives a life on a disk that fails writes or flushes.
func (f *faultLab) writeLife(d *blockdev.Disk, seed uint64, kind int, at blockdev.Fault) error {
	f.run.Live()
	own := &life{seed: seed, beginning: f.begin(), reads: map[int]map[int64]bool{}}
	if err := d.Record(own.view); err != nil {
		return err
	}
	if err := f.fs.mount(d); err != nil {
		return err
	}
	c := &faultCheck{faultLab: f, d: d, own: own, kind: kind, fault: at, when: fmt.Sprintf("%s, %s", faultKinds[kind], tellFault(&at))}
	err := d.Arm(at)
	if err == nil {
		err = c.live()
	}
	unmounted := err == nil && seed%2 == 0 // with the fault: then all is written that was not yet
	if err == nil && !unmounted {
		err = errors.Join(d.Arm(), c.inPlace())
	}
	if unmounted {
		c.where = "after the filesystem was unmounted"
		err = d.Unmount()
	}
	if err = errors.Join(err, d.Discard(), d.Arm()); err != nil {
		return err
	}
	if err = c.hasMet(); err != nil {
		return err
	}
	return c.afterCut()
}

// hasMet notes whether the disk has failed.
func (c *faultCheck) hasMet() error {
	rec, err := c.d.Cut()
	if err != nil {
		return err
	}
	defer func() { _ = c.disks.Drop(rec.ID) }() // the server ends with its lab
	for i := range rec.Events {
		c.met = c.met || rec.Events[i].Failed
	}
	return nil
}

// tellFault tells which request fails.
func tellFault(f *blockdev.Fault) string {
	if f.Length == 0 {
		return fmt.Sprintf("%s %d", f.Op, f.Nth)
	}
	return fmt.Sprintf("%s %d to bytes %d to %d of the disk", f.Op, f.Nth, f.Off, f.Off+f.Length-1)
}

// faultCheck is a life in which the disk fails, and its checks.
type faultCheck struct {
	*faultLab
	d     *blockdev.Disk
	own   *life
	kind  int
	fault blockdev.Fault
	when  string
	where string // of the last check; empty is after a power cut

	known   campaign.Known // after what was checked so far
	met     bool
	noticed bool
	stopped bool
}

// live runs the workload.
func (c *faultCheck) live() error {
	werr := c.lab.live(c.run.Context(), c.d, c.own)
	var err error
	c.own.rec, err = c.d.Cut()
	if err = errors.Join(err, c.run.Context().Err()); err != nil {
		return err
	}
	defer func() { _ = c.disks.Drop(c.own.rec.ID) }() // the server ends with its lab
	for i := range c.own.rec.Events {
		c.met = c.met || c.own.rec.Events[i].Failed
	}
	c.noteAcks(c.own)
	c.known = campaign.After(c.own.known(len(c.own.rec.Acks)), false)
	switch b := c.own.broken; {
	case werr != nil && !c.met:
		return werr
	case b != nil && (!c.met || b.Kind == campaign.Lost || b.Kind == campaign.Illegal):
		return c.found(b)
	case b != nil:
		werr = b
	}
	c.noticed = werr != nil
	if werr == nil {
		return nil
	}
	return c.checkNamed(werr)
}

// inPlaceRecoverer is a subject that recovers in another way where the page cache may hold what
// the disk has failed to take.
type inPlaceRecoverer interface {
	RecoverInPlace(dir string) (campaign.Found, error)
}

// inPlace has the subject recover on the filesystem that has seen the disk fail, unless that
// takes no writes any more.
func (c *faultCheck) inPlace() error {
	if c.stopped = syncNew(filepath.Join(c.d.Path(), bystanderName, "after")) != nil; c.stopped || c.known == nil {
		return nil
	}
	recovers := c.subject.Recover
	if s, ok := c.subject.(inPlaceRecoverer); ok {
		recovers = s.RecoverInPlace
	}
	found, err := recovers(subjectDir(c.d))
	if err != nil { // a sync may tell of what the disk had not taken in the background: once
		found, err = recovers(subjectDir(c.d))
	}
	if err == nil {
		if err = kill.CheckError(found); err != nil {
			return err
		}
		return c.judge(found, "on the filesystem as it went on")
	}
	if c.stopped = syncNew(filepath.Join(c.d.Path(), bystanderName, "later")) != nil; c.stopped {
		return nil // that was what it was told
	}
	return c.found(campaign.AsBroken(err, campaign.Misjudged))
}

// judge holds what was found against what is known, and notes what is known by it.
func (c *faultCheck) judge(found campaign.Found, where string) error {
	if b := checkEach(found, c.known, func(*campaign.Broken) bool { return true }); b != nil {
		b.What += " (" + where + ")"
		return c.found(b)
	}
	c.settle(found)
	return nil
}

// settle notes what is known by what was found.
func (c *faultCheck) settle(found campaign.Found) {
	if s, ok := c.subject.(kill.Settler); ok {
		c.known = s.Settle(c.known, found)
	}
}

// afterCut mounts what the disk holds, and checks that.
func (c *faultCheck) afterCut() error {
	defer c.count()
	if c.run.Context().Err() != nil {
		return nil
	}
	if err := c.fs.mount(c.d); err != nil {
		if !isRefusal(err) {
			return err
		}
		c.add(func(o *FaultOutcome) { o.Refused++ })
		return nil
	}
	found, err := c.subject.Recover(subjectDir(c.d))
	switch {
	case err != nil:
		err = c.found(campaign.AsBroken(err, campaign.Misjudged))
	default:
		if err = kill.CheckError(found); err == nil {
			err = c.judge(found, cmp.Or(c.where, "after the power was cut"))
		}
	}
	return errors.Join(err, c.d.Discard())
}

// count counts the life.
func (c *faultCheck) count() {
	c.add(func(o *FaultOutcome) {
		o.Lives++
		o.Met += one(c.met)
		o.Noticed += one(c.met && c.noticed)
		o.Stopped += one(c.stopped)
	})
	if c.met {
		c.run.AddOne()
	} else {
		c.run.Add(1, 0)
	}
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// add changes the counts of the life's fault.
func (c *faultCheck) add(change func(*FaultOutcome)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.outcomes[c.kind])
}

// found reports what is broken after a fault.
func (c *faultCheck) found(b *campaign.Broken) error {
	c.add(func(o *FaultOutcome) { o.Broken++ })
	if !c.marks.take(b) {
		return nil
	}
	t := faultDetails{Subject: c.subject.Name(), Filesystem: c.fs, Seed: c.own.seed, Kind: c.kind, Fault: c.fault}
	if c.o.isProgram() {
		t.Program = &c.o.Program
	}
	token, err := campaign.Token(faultName, t)
	if err != nil {
		return err
	}
	c.report(campaign.Finding{
		Kind: b.Kind, Clause: b.Clause, Token: token, Seed: c.own.seed, Subject: c.subject.Name(),
		Summary: fmt.Sprintf("%s: %s on %s; %s", b.What, c.when, c.fs.Name, c.knows()),
	})
	return nil
}

// knows tells what was acknowledged.
func (c *faultCheck) knows() string {
	if c.known == nil {
		return "nothing was acknowledged"
	}
	return fmt.Sprint(c.known)
}

// readLife has the disk fail while the subject reads what a life has left: at one of the blocks
// that it reads where the disk does not fail.
func (f *faultLab) readLife(d *blockdev.Disk, own *life, kind int, rng *rand.Rand) error {
	_, read, err := f.readFault(d, own, kind, nil)
	if err = errors.Join(err, d.Discard()); err != nil || len(read) == 0 || f.run.Context().Err() != nil {
		return err
	}
	block := read[rng.IntN(len(read))]
	return f.failRead(d, own, kind, blockdev.Fault{
		Op: blockdev.Read, Effect: blockdev.EIO, Off: block * blockdev.BlockBytes, Length: blockdev.BlockBytes, Always: faultKinds[kind].always,
	})
}

// failRead has the disk fail a read, and checks that nothing is lost by that.
func (f *faultLab) failRead(d *blockdev.Disk, own *life, kind int, at blockdev.Fault) error {
	f.run.Live()
	c, _, err := f.readFault(d, own, kind, &at)
	if err == nil {
		c.stopped = syncNew(filepath.Join(d.Path(), bystanderName, "after")) != nil
	}
	if err = errors.Join(err, d.Discard()); err != nil {
		return err
	}
	return c.afterCut()
}

// readFault has the subject recover what a life has left, from a disk that fails a read or not,
// and tells which blocks it has read. The disk stays mounted.
func (f *faultLab) readFault(d *blockdev.Disk, own *life, kind int, at *blockdev.Fault) (c *faultCheck, read []int64, err error) {
	c = &faultCheck{faultLab: f, d: d, own: own, kind: kind, known: campaign.After(own.known(len(own.rec.Acks)), false), met: at != nil}
	if err = d.Fork(own.rec.End()); err != nil {
		return c, nil, err
	}
	if err = f.fs.mount(d); err != nil {
		return c, nil, err
	}
	before, err := d.Touched()
	if err == nil && at != nil {
		c.fault, c.when = *at, fmt.Sprintf("%s, %s", faultKinds[kind], tellFault(at))
		err = d.Arm(*at)
	}
	if err != nil {
		return c, nil, err
	}
	found, rerr := f.subject.Recover(subjectDir(d))
	var broken *campaign.Broken
	if rerr == nil {
		broken = checkEach(found, c.known, func(*campaign.Broken) bool { return true })
		rerr = kill.CheckError(found)
	}
	after, err := d.Touched()
	if err = errors.Join(err, d.Arm()); err != nil {
		return c, nil, err
	}
	_, acks := c.known.(campaign.Acks)
	switch {
	case at == nil && rerr != nil: // what nothing is wrong with
		err = rerr
	case broken != nil && (at == nil || !acks):
		broken.What += " (while the disk failed)"
		err = c.found(broken)
	case rerr != nil:
		c.noticed = true
		err = c.checkNamed(rerr)
	default:
		c.noticed = broken != nil // a check of a program that cannot read
		c.settle(found)
	}
	return c, without(after.Read, before.Read), err
}

// checkNamed reports an error that tells of the disk and names no file.
func (c *faultCheck) checkNamed(err error) error {
	if s, ok := c.subject.(interface{ NamesFiles() bool }); !ok || !s.NamesFiles() || strings.Contains(err.Error(), c.d.Path()) {
		return nil
	}
	return c.found(&campaign.Broken{Kind: campaign.Misjudged, Clause: "C7", What: fmt.Sprintf("an error of the disk is told without a file: %v", err)})
}

// without returns the numbers of a sorted list that another one has not.
func without(list, other []int64) (rest []int64) {
	have := make(map[int64]bool, len(other))
	for _, n := range other {
		have[n] = true
	}
	for _, n := range list {
		if !have[n] {
			rest = append(rest, n)
		}
	}
	return rest
}

// faultDetails are what a fault's token carries. A fault is made again, since what the cache of a
// filesystem holds is in no image: requests come in about the same order each time.
type faultDetails struct {
	Subject    string         `json:"s"`
	Program    *kill.Program  `json:"p,omitempty"`
	Filesystem Filesystem     `json:"f"`
	Seed       uint64         `json:"d"`
	Kind       int            `json:"k"`
	Fault      blockdev.Fault `json:"x"`
}

// ReplayFault lives a life again whose token RunFaults has given, with the same fault, until the
// finding shows, some ten times. A result without findings has a note that says so.
func ReplayFault(ctx context.Context, token string, o Options) (*campaign.Result, error) {
	var t faultDetails
	if err := campaign.ParseToken(token, faultName, &t); err != nil {
		return nil, err
	}
	if t.Kind < 0 || t.Kind >= len(faultKinds) {
		return nil, fmt.Errorf("%w: of another fault than there are", campaign.ErrToken)
	}
	if t.Program != nil {
		o.Program, o.Subject = *t.Program, nil
	}
	o.Filesystem, o.Disks, o.All, o.NoBystander = t.Filesystem, 1, false, true
	l, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.close() }() // in a panic
	if l.subject.Name() != t.Subject {
		return nil, errors.Join(fmt.Errorf("%w: %q, not %q", campaign.ErrSubject, t.Subject, l.subject.Name()), l.close())
	}
	f := &faultLab{lab: l, outcomes: make([]FaultOutcome, len(faultKinds))}
	tries := 0
	for d := l.disks.Disks[0]; err == nil && tries < l.o.Tries && !l.run.Over(); tries++ {
		if faultKinds[t.Kind].place != aRead {
			err = f.writeLife(d, t.Seed, t.Kind, t.Fault)
			continue
		}
		var own *life
		if own, err = l.record(ctx, d, t.Seed, l.begin()); err == nil {
			err = errors.Join(f.failRead(d, own, t.Kind, t.Fault), l.disks.Drop(own.rec.ID))
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	err = errors.Join(err, l.close())
	l.run.Over() // says why, if the context has ended
	r := l.run.Result(faultName)
	r.Filesystem = l.fs.Name
	r.Finish(l.run.Began())
	for i := range r.Findings {
		r.Findings[i].Token = token
	}
	if len(r.Findings) == 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the life was lived %d times with that fault, and nothing was broken", tries))
	}
	return r, err
}
