//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// brokenName is the name of campaigns on broken disks, in results and tokens.
const brokenName = "broken-disk"

// BrokenResult is what a campaign on broken disks did and found, in sum and on each filesystem.
type BrokenResult struct {
	*campaign.Result
	Results []*campaign.Result `json:"results"`

	// Outcomes say what came of each way in which a disk is broken, on each filesystem.
	Outcomes []BrokenOutcome `json:"broken_disk"`
}

// BrokenOutcome counts what came of one way in which a disk is broken on one filesystem: each state
// in one of the fields below.
type BrokenOutcome struct {
	Filesystem string `json:"filesystem"`
	Fault      string `json:"fault"`

	States     int64 `json:"states"`
	Refused    int64 `json:"refused"`     // the filesystem is not mounted
	Harmless   int64 `json:"harmless"`    // all that was acknowledged is there
	Told       int64 `json:"told"`        // damage is told, and nothing altered is served
	Torn       int64 `json:"torn"`        // something acknowledged is missing, and a torn end is told
	RolledBack int64 `json:"rolled_back"` // an earlier moment, and nothing is left that tells of a later one
	Believed   int64 `json:"believed"`    // what is not so is taken for right, though it could be known
}

// note counts an outcome.
func (o *BrokenOutcome) note(of campaign.Outcome) {
	switch o.States++; of {
	case campaign.Harmless:
		o.Harmless++
	case campaign.Told:
		o.Told++
	case campaign.ToldTorn:
		o.Torn++
	case campaign.RolledBack:
		o.RolledBack++
	case campaign.Believed:
		o.Believed++
	default:
		o.Refused++
	}
}

// brokenKind is a way in which a disk is broken.
type brokenKind struct {
	name string
	make func(*brokenLife, *rand.Rand) (*brokenState, error) // nil where the life has no such place

	// Unwritten says that what was written, and flushed, may never have been: only then a log can
	// be rolled back with nothing left that tells.
	unwritten bool
}

// brokenKinds are all of them. Tokens have their places in the list.
var brokenKinds = []brokenKind{
	{"flush lies once", (*brokenLife).lyingOnce, true},
	{"flushes lie since", (*brokenLife).lyingAlways, true},
	{"sector torn, rest old", (*brokenLife).tornOld, false},
	{"sector torn, garbage", (*brokenLife).tornGarbage, false},
	{"bit flipped at rest", (*brokenLife).flipped, false},
	{"bit flipped in a read", (*brokenLife).flippedRead, false},
	{"write lost", (*brokenLife).lostWrite, true},
	{"write misdirected", (*brokenLife).misdirected, true},
}

// errNoExaminer reports a subject that cannot be asked what it makes of a broken disk.
var errNoExaminer = fmt.Errorf("%w: a broken disk is for a subject that says what it makes of it (campaign.Examiner), not for a program", ErrOptions)

// RunBroken runs a campaign on broken disks on each filesystem, one after the other, with an equal
// share of the limits. A disk that breaks its promises is no fault of a program: what comes of
// it is counted, and only what is believed is a finding (campaign.Outcome, and seawall.Log.Examine
// for where the border lies).
//
// A life is recorded on a disk that works. What a broken one would have held is made of the
// recording, so that it is the same each time it is looked at:
//
//   - A flush that lies ends no epoch. The power is cut behind it, before the next one that holds,
//     and what was written since the one before it is missing wholly, up to the flush, or in
//     part. That is any of the disk's requests: also the filesystem's own.
//   - A torn sector is one of the last writes to the subject's files before a cut, of which the
//     first bytes are new. The rest is as it was, or garbage.
//   - A bit flips in a block of the subject's files, after the life or after a cut behind a flush;
//     or in what is read of one, the first time that it is read.
//   - A lost write was answered, and flushed. The disk's cache has it until the power is cut.
//     It is one to the subject's files, and so is one that is misdirected: that lies at another
//     place of them then.
//
// What is torn, flipped or lost is the subject's, since whether a filesystem finds damage of
// its own metadata is not what is asked. What btrfs knows the sums of it does not hand out.
func RunBroken(ctx context.Context, o Options, filesystems []Filesystem) (*BrokenResult, error) {
	all := &BrokenResult{}
	if _, ok := o.Subject.(campaign.Examiner); o.isProgram() || o.Subject != nil && !ok {
		return all, errNoExaminer
	}
	r, err := runEach(ctx, o, filesystems, func(ctx context.Context, o Options) (*campaign.Result, error) {
		one, outcomes, err := runBroken(ctx, o)
		all.Outcomes = append(all.Outcomes, outcomes...)
		return one, err
	})
	r.Campaign = brokenName
	all.Result, all.Results = r.Result, r.Results
	return all, err
}

// brokenLab is a campaign on broken disks in progress, on one filesystem.
type brokenLab struct {
	*lab
	examiner campaign.Examiner
	outcomes []BrokenOutcome // of brokenKinds
	turn     uint64          // of the kinds
	begun    atomic.Int64    // states that are checked or were: no more than there are to be
}

// mayBegin reports whether one more state is to be checked. Kinds that take longer are not left out
// for those that take less.
func (b *brokenLab) mayBegin() bool {
	if b.begun.Add(1) > b.o.States && b.o.States > 0 {
		b.begun.Add(-1)
		return false
	}
	return !b.run.Over()
}

// openBroken begins a campaign on broken disks.
func openBroken(ctx context.Context, o Options) (*brokenLab, error) {
	o.NoBystander = true // whose files are not what is asked
	l, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	b := &brokenLab{lab: l}
	var ok bool
	if b.examiner, ok = l.subject.(campaign.Examiner); !ok {
		return nil, errors.Join(errNoExaminer, l.close())
	}
	for _, k := range brokenKinds {
		b.outcomes = append(b.outcomes, BrokenOutcome{Filesystem: l.fs.Name, Fault: k.name})
	}
	return b, nil
}

func runBroken(ctx context.Context, o Options) (*campaign.Result, []BrokenOutcome, error) {
	b, err := openBroken(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = b.close() }() // in a panic
	for n := uint64(0); err == nil && !b.run.Over(); n++ {
		err = b.one(rand.New(rand.NewPCG(b.o.Seed, n)).Uint64() >> 1)
	}
	if b.run.Context().Err() != nil {
		err = nil
	}
	err = errors.Join(err, b.close())
	b.run.Over() // says why, if the context has ended
	r := b.run.Result(brokenName)
	r.Filesystem = b.fs.Name
	for _, one := range b.outcomes {
		r.Count(one.Fault, one.States)
	}
	r.Finish(b.run.Began())
	r.NotReached()
	r.Notes = append(r.Notes, b.notes...)
	return r, b.outcomes, err
}

// rounds is how many states of each kind are made of a life.
const rounds = 3

// brokenLife is a life of which states of broken disks are made.
type brokenLife struct {
	*life
	lab     *brokenLab
	atlas   *atlas
	flushes []int   // requests
	writes  []int   // to the subject's files
	blocks  []int64 // of the subject's files, at the end
}

// one lives one life, and checks what broken disks make of it.
func (b *brokenLab) one(seed uint64) error {
	b.run.Live()
	d := b.disks.Disks[0]
	own, err := b.record(b.run.Context(), d, seed, b.begin())
	if err != nil {
		return err
	}
	defer func() { _ = b.disks.Drop(own.rec.ID) }() // the server ends with its lab
	if own.broken != nil {
		return b.foundLife(d, own)
	}
	l, err := b.places(d, own)
	if err != nil || len(l.writes) == 0 || len(l.flushes) < 2 {
		return err
	}
	var next atomic.Uint64
	first := b.turn // so that short campaigns come to all kinds
	err = b.onAll(func(d *blockdev.Disk) error {
		for next.Load() < rounds*uint64(len(brokenKinds)) && b.mayBegin() {
			n := next.Add(1) - 1
			kind := int((first + n) % uint64(len(brokenKinds)))
			checked, serr := b.state(d, l, kind, rand.New(rand.NewPCG(seed, 0xb0<<32+n)))
			if serr != nil {
				return serr
			}
			if !checked { // there may be a place in another life
				b.begun.Add(-1)
			}
		}
		return nil
	})
	b.turn += next.Load()
	return err
}

// places looks where the subject's files are.
func (b *brokenLab) places(d *blockdev.Disk, own *life) (*brokenLife, error) {
	a, err := b.atlas(d, own.rec.End())
	if err != nil {
		return nil, err
	}
	l := &brokenLife{life: own, lab: b, atlas: a}
	for n := range own.rec.Events {
		switch e := &own.rec.Events[n]; {
		case e.Op == blockdev.Flush:
			l.flushes = append(l.flushes, n)
		case e.Op == blockdev.Write && l.isData(e.Off):
			l.writes = append(l.writes, n)
		}
	}
	for _, x := range a.extents {
		for off := x.physical; off < x.physical+x.length; off += blockdev.BlockBytes {
			if l.isData(off) {
				l.blocks = append(l.blocks, off/blockdev.BlockBytes)
			}
		}
	}
	return l, nil
}

// isData reports whether a byte of the disk is one of the subject's files, by where these are at the
// end of the life.
func (l *brokenLife) isData(off int64) bool {
	for _, x := range l.atlas.extents {
		if !x.dir && x.path != unrelatedName && x.path[0] != '/' && off >= x.physical && off < x.physical+x.length {
			return true
		}
	}
	return false
}

// known returns what was known at each moment up to a cut.
func (l *brokenLife) known(cut int) []campaign.Known {
	acks := len(l.rec.Acks)
	if cut < len(l.rec.Events) {
		acks = l.rec.Events[cut].Acks
	}
	list := []campaign.Known{campaign.After(l.first, false)}
	for _, k := range l.marks[:acks] {
		list = append(list, campaign.After(k, false))
	}
	return list
}
