//go:build linux

package powerloss

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// refused is the outcome of a state that the filesystem does not mount.
const refused campaign.Outcome = "not mounted"

// state makes a state of a kind, and checks it. It reports whether the life has a place for it.
func (b *brokenLab) state(d *blockdev.Disk, l *brokenLife, kind int, rng *rand.Rand) (checked bool, err error) {
	s, err := brokenKinds[kind].make(l, rng)
	if err != nil || s == nil {
		return false, err
	}
	s.kind = kind
	if s.view.Layer != l.rec.ID {
		defer func() { _ = b.disks.Drop(s.view.Layer) }() // the server ends with its lab
	}
	c := &brokenCheck{brokenLab: b, d: d, brokenState: s, seed: l.seed, known: l.known(s.cut)}
	if s.read != nil {
		if ok, aerr := c.aim(l, rng); aerr != nil || !ok {
			return false, aerr
		}
	}
	came, err := c.examine(s.view)
	if err != nil || b.run.Context().Err() != nil {
		return false, err
	}
	b.run.AddOne()
	b.mu.Lock()
	b.outcomes[kind].note(came.Outcome)
	b.mu.Unlock()
	if came.Outcome != campaign.Believed || !b.marks.take(&campaign.Broken{Kind: came.Kind}) {
		return true, nil
	}
	return true, c.found(l, came)
}

// brokenCheck is a state of a broken disk that is checked.
type brokenCheck struct {
	*brokenLab
	*brokenState
	d     *blockdev.Disk
	seed  uint64
	known []campaign.Known
	asks  campaign.Examination
}

// cameOf is what came of a state, and which blocks were read for it.
type cameOf struct {
	campaign.Examined
	mounting, reading []int64 // to mount it, and after that too
}

// examine mounts what a disk holds, with its fault, and has the subject say what came of it.
func (c *brokenCheck) examine(v blockdev.View) (came cameOf, err error) {
	if err = c.d.Fork(v); err != nil {
		return came, err
	}
	if err = c.fs.mount(c.d); err != nil {
		if !isRefusal(err) {
			return came, err
		}
		came.Outcome, came.What = refused, err.Error()
		return came, nil
	}
	defer func() { err = errors.Join(err, c.d.Arm(), c.d.Discard()) }()
	touched, err := c.d.Touched()
	if err != nil {
		return came, err
	}
	if came.mounting = touched.Read; c.read != nil && c.read.Length > 0 {
		if err = c.d.Arm(*c.read); err != nil {
			return came, err
		}
	}
	if came.Examined, err = c.examiner.Examine(subjectDir(c.d), c.known, c.asks); err != nil {
		return came, err
	}
	if came.Outcome == campaign.RolledBack && !brokenKinds[c.kind].unwritten {
		came.Outcome, came.What = campaign.Believed, came.What+", and nothing is told, though all of it was written"
	}
	touched, err = c.d.Touched()
	came.reading = touched.Read
	return came, err
}

// aim chooses what a bit is flipped of that is read: by what is read without. It reports whether
// there is such a block. In half of the cases nothing but Open reads.
func (c *brokenCheck) aim(l *brokenLife, rng *rand.Rand) (bool, error) {
	clean, err := c.examine(c.view)
	if err != nil || clean.Outcome == refused {
		return false, err
	}
	if rng.IntN(2) == 0 {
		c.asks = campaign.Examination{OpenFirst: true, Promised: clean.Promised}
		if clean, err = c.examine(c.view); err != nil {
			return false, err
		}
	}
	blocks := slices.DeleteFunc(without(clean.reading, clean.mounting), func(n int64) bool { return !l.isData(n * blockdev.BlockBytes) })
	if len(blocks) == 0 {
		return false, nil
	}
	for range manyTries {
		off := blocks[rng.IntN(len(blocks))] * blockdev.BlockBytes
		p, err := c.disks.ReadView(c.view, off, blockdev.BlockBytes)
		if err != nil {
			return false, err
		}
		if first, last, ok := aSpan(p, rng); ok {
			c.read.Off, c.read.Length = off+int64(first), int64(last-first+1)
			break
		}
	}
	if c.read.Length == 0 {
		return false, nil
	}
	c.what = fmt.Sprintf("a bit has flipped in what was read first of bytes %d to %d of the disk (%s)",
		c.read.Off, c.read.Off+c.read.Length-1, l.where(c.read.Off))
	if c.asks.OpenFirst {
		c.what += ", by open"
	}
	return true, nil
}

// found reports what was believed. Of what flushes have lost it looks for the fewest requests.
func (c *brokenCheck) found(l *brokenLife, came cameOf) error {
	if len(c.view.Lost) > 1 && c.view.Layer == l.rec.ID {
		var err error
		if came, err = c.shrink(came); err != nil {
			return err
		}
	}
	f := campaign.Finding{
		Kind: came.Kind, Clause: came.Clause, Seed: c.seed, Subject: c.subject.Name(),
		Summary: fmt.Sprintf("believed: %s: %s on %s; %s", came.What, c.what, c.fs.Name, tellKnown(c.known[len(c.known)-1])),
	}
	if c.view.Layer == l.rec.ID {
		for _, lost := range c.view.Lost {
			e := &l.rec.Events[lost.Event]
			f.Lost = append(f.Lost, fmt.Sprintf("%s: a %s of %d bytes at byte %d of the disk", l.where(e.Off), e.Op, e.Length, e.Off))
		}
	}
	var err error
	f.Token, err = c.token(&f)
	c.report(f)
	return err
}

// tellKnown tells what was acknowledged.
func tellKnown(k campaign.Known) string {
	if k == nil {
		return "nothing was acknowledged"
	}
	return fmt.Sprint(k)
}

// shrink loses the fewest requests that still show the same.
func (c *brokenCheck) shrink(came cameOf) (cameOf, error) {
	var err error
	left := mostShrinking
	campaign.Shrink(slices.Clone(c.view.Lost), func(lost []blockdev.Lost) bool {
		if left--; err != nil || left < 0 || c.run.Context().Err() != nil {
			return false
		}
		v := c.view
		v.Lost = lost
		var now cameOf
		if now, err = c.examine(v); err != nil || !now.isLike(&came) {
			return false
		}
		c.view, came = v, now
		return true
	})
	c.what += fmt.Sprintf("; %s missing shows it", counted(len(c.view.Lost), "request"))
	return came, err
}

// isLike reports whether the same was believed.
func (c *cameOf) isLike(o *cameOf) bool {
	return c.Outcome == campaign.Believed && c.Kind == o.Kind && c.Clause == o.Clause
}

// brokenDetails are what a token of a broken disk carries: what it held, and what was known.
type brokenDetails struct {
	Subject    string     `json:"s"`
	Filesystem Filesystem `json:"f"`
	Seed       uint64     `json:"d"`
	Kind       int        `json:"k"`
	Life       []byte     `json:"l"` // as the subject encodes it
	Image      []byte     `json:"i"`

	Read     *blockdev.Fault `json:"r,omitempty"`
	First    bool            `json:"o,omitempty"` // nothing but open reads
	Promised uint64          `json:"p,omitempty"`

	Found  campaign.Kind   `json:"c"`
	Clause campaign.Clause `json:"u,omitempty"`
	What   string          `json:"w"`
	Lost   []string        `json:"x,omitempty"`
}

// token returns a token for a finding: with those blocks alone that were read to show it, if it
// shows by them.
func (c *brokenCheck) token(f *campaign.Finding) (string, error) {
	t := brokenDetails{
		Subject: f.Subject, Filesystem: c.fs, Seed: f.Seed, Kind: c.kind, Read: c.read, First: c.asks.OpenFirst, Promised: c.asks.Promised,
		Found: f.Kind, Clause: f.Clause, What: c.what, Lost: f.Lost,
	}
	var err error
	if t.Life, err = c.examiner.AppendLife(nil, c.known); err != nil {
		return "", err
	}
	image, err := c.disks.Image(c.view)
	if err != nil {
		return "", err
	}
	t.Image = pack(image)
	came, err := c.examine(c.view)
	if err != nil {
		return "", err
	}
	maps.DeleteFunc(image, func(n int64, _ []byte) bool {
		_, read := slices.BinarySearch(came.reading, n)
		return !read
	})
	less, err := c.disks.Load(image)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.disks.Drop(less.Layer) }() // the server ends with its lab
	if came, err = c.examine(less); err != nil {
		return "", err
	}
	if came.isLike(&cameOf{Examined: campaign.Examined{Kind: f.Kind, Clause: f.Clause}}) {
		t.Image = pack(image)
	}
	return campaign.Token(brokenName, t)
}
