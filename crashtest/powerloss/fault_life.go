//go:build linux

package powerloss

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

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
	if c.o.Program.Workload != "" {
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
