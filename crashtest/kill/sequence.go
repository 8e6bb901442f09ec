//go:build linux

package kill

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// mostLives bounds a chain, and so a token and its replay.
const mostLives = 12

// chain is a row of lives on one directory.
type chain struct {
	dir string // the subject's is below
	rng *rand.Rand

	lives  []Plan
	known  campaign.Known // when the next life begins
	killed bool
	enough bool  // the next life begins a fresh one
	met    Place // where the last kill was, by what it left
}

// newChain returns a chain that has not begun. Its choices follow from the seed.
func newChain(dir string, seed uint64) *chain {
	return &chain{dir: dir, rng: rand.New(rand.NewPCG(seed, 2)), enough: true}
}

// subjectDir is the directory that the subject lives in. It is not there when the
// first life begins.
func (c *chain) subjectDir() string { return filepath.Join(c.dir, "life") }

// next chooses the next life, aimed at a place if there is one, again after a
// miss.
func (c *chain) next(place Place, anyOp, again bool) error {
	fresh := c.rng.IntN(8) == 0 && place != Recovery
	if c.enough || len(c.lives) == mostLives || fresh {
		if err := c.begin(); err != nil {
			return err
		}
	}
	c.lives = append(c.lives, newPlan(c.rng, place, anyOp, again, len(c.lives) == 0))
	return nil
}

// begin begins the chain again, with an empty directory.
func (c *chain) begin() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if err := os.MkdirAll(c.subjectDir(), 0o700); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	c.lives, c.known, c.killed, c.enough = nil, nil, false, false
	return nil
}

// death is what is known of one life's end.
type death struct {
	known  campaign.Known // at the kill
	before campaign.Known // when the life began
	place  Place
	state  uint64 // of the shared memory
	text   string // of the shared memory
	hit    bool   // it died at its aim
	err    error  // a *deathError, or nil
}

// verdict is what a death came to.
type verdict struct {
	kill    Kill
	counted bool
	broken  *campaign.Broken
}

// verify checks what a death left, and settles what the next life begins with.
func (c *chain) verify(o *Options, d death) (verdict, error) {
	s, plan := o.Subject, c.lives[len(c.lives)-1]
	var v verdict
	if d.err != nil {
		v.broken = &campaign.Broken{Kind: campaign.Died, Clause: "C7", What: d.err.Error()}
		return v, nil
	}
	switch d.state {
	case stateFailed:
		return v, fmt.Errorf("kill: the workload failed: %s", d.text)
	case stateBroken:
		v.broken = parseBroken(d.text)
		return v, nil
	}
	found, err := c.recover(s, plan)
	if err != nil {
		v.broken = campaign.AsBroken(err, campaign.Misjudged)
		return v, nil
	}
	v.broken = campaign.Check(found, d.known, true)
	if f, ok := found.(*programFound); ok && f.err != nil {
		return v, f.err
	}
	v.kill = Kill{Place: d.place, Counts: countsOf(s, d.known)}
	if d.hit && plan.Aim != nil {
		v.kill.Aim = plan.Aim.String()
	}
	if f, ok := found.(Survivor); ok {
		last := f.Recovered()
		v.kill.Recovered = &last
		v.kill.Found, v.kill.Of = f.InProgress(d.known)
	}
	v.kill.placeByBytes()
	v.counted = d.state == stateAtWork || d.place == Recovery && d.state == stateNone && v.kill.Appended > 0
	c.known, c.killed = d.known, true
	if settler, ok := s.(Settler); ok && v.broken == nil {
		c.known = settler.Settle(d.known, found)
	}
	if bounded, ok := s.(Bounded); ok {
		c.enough = bounded.Enough(found)
	}
	return v, nil
}

// placeByBytes tells a kill within a copy by what it left: a part of a record. An
// aimed one that left a whole record or nothing was not within it.
func (k *Kill) placeByBytes() {
	switch partly := k.Found > 0 && k.Found < k.Of; {
	case k.Place == Append && partly:
		k.Place = Copy
	case k.Place == Copy && !partly:
		k.Place = Append
	}
}

// recover has the subject find what is there.
func (c *chain) recover(s campaign.Subject, plan Plan) (campaign.Found, error) {
	if inspector, ok := s.(Inspector); ok && plan.Inspect {
		return inspector.Inspect(c.subjectDir())
	}
	return s.Recover(c.subjectDir())
}

// details are what a token carries.
type details struct {
	Subject string          `json:"subject,omitempty"`
	Program *Program        `json:"program,omitempty"`
	Lives   []Plan          `json:"lives"`
	Kind    campaign.Kind   `json:"kind"`
	Clause  campaign.Clause `json:"clause"`

	Mutate campaign.Mutations `json:"mutate,omitempty"`
}

// finding returns what is reported of a broken promise.
func (c *chain) finding(o *Options, b *campaign.Broken) (campaign.Finding, error) {
	last := c.lives[len(c.lives)-1]
	d := details{Subject: o.Subject.Name(), Lives: c.lives, Kind: b.Kind, Clause: b.Clause, Mutate: o.Mutate}
	if o.isProgram() {
		d.Program = &o.Program
	}
	token, err := campaign.Token(campaignName, d)
	if err != nil {
		return campaign.Finding{}, err
	}
	how := "killed blindly"
	if last.Aim != nil {
		how = "killed " + last.Aim.String()
	}
	return campaign.Finding{
		Kind: b.Kind, Clause: b.Clause, Token: token, Subject: d.Subject, Seed: last.Seed,
		Summary: fmt.Sprintf("%s; %s, in life %d of the directory", b.What, how, len(c.lives)),
	}, nil
}

// keep moves the directory of a finding aside, and returns its new name.
func (c *chain) keep(below string) (string, error) {
	to, err := os.MkdirTemp(below, "seawall-kill-found-")
	if err == nil {
		err = os.Rename(c.dir, filepath.Join(to, "chain"))
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("kill: keep what was found: %w", err))
	}
	return to, nil
}
