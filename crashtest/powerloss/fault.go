//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
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
