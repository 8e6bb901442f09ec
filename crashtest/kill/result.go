//go:build linux

package kill

import (
	"fmt"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Result is what a campaign did and found.
type Result struct {
	*campaign.Result
	Survival Survival `json:"survival"`
}

// Kill is one verified kill: a life that had appended a record, and was at work.
type Kill struct {
	Place Place  `json:"place"`
	Aim   string `json:"aim,omitempty"` // in words; empty for a blind kill
	Counts

	// Recovered is the last record that was there, where the subject tells by a
	// Survivor; of a program it is not known.
	Recovered *uint64 `json:"recovered,omitempty"`

	// Found is how many bytes of the records in progress were in the file, of so
	// many. Of is 0 where no record was in progress, or where what was has become
	// whole.
	Found int64 `json:"found"`
	Of    int64 `json:"of"`
}

// Survival says which writes survived, over a campaign.
type Survival struct {
	Exact     int64 `json:"exact"`     // verified kills that were aimed
	Blind     int64 `json:"blind"`     // and those that were not
	Uncounted int64 `json:"uncounted"` // deaths without a record, or with the work done

	Acked    int64 `json:"acked"`    // records that were acked since the kill before
	Unacked  int64 `json:"unacked"`  // appended then, not acked
	Survived int64 `json:"survived"` // of these, there after the kill
	CutAway  int64 `json:"cut_away"` // appended, and taken by a cut that was under way

	// InProgress is the histogram of the records in progress: by which share of their
	// bytes was in the file.
	InProgress []campaign.Class `json:"making"`

	// Places say the same of the verified kills in each place, in the order of places.
	Places []PlaceSurvival `json:"places"`

	// Kills are the last ones.
	Kills []Kill `json:"kills"`
}

// PlaceSurvival says which writes survived the kills in one place.
type PlaceSurvival struct {
	Place    Place `json:"place"`
	Kills    int64 `json:"kills"`
	Acked    int64 `json:"acked"`
	Unacked  int64 `json:"unacked"`
	Survived int64 `json:"survived"`
	CutAway  int64 `json:"cut_away"`

	// Of the kills with a record in progress: how often no byte of it was in the file, a
	// part, and all of it.
	None  int64 `json:"none"`
	Part  int64 `json:"part"`
	Whole int64 `json:"whole"`
}

// add counts a kill.
func (s *PlaceSurvival) add(acked, unacked, survived, cutAway int64, progress int) {
	s.Kills++
	s.Acked += acked
	s.Unacked += unacked
	s.Survived += survived
	s.CutAway += cutAway
	switch {
	case progress == 0:
		s.None++
	case progress == progressIsWhole:
		s.Whole++
	case progress > 0:
		s.Part++
	}
}

// The classes of Survival.InProgress.
const (
	progressNone  = "no byte"
	progressSome1 = "up to a quarter"
	progressSome2 = "up to a half"
	progressSome3 = "up to three quarters"
	progressSome4 = "up to the last byte"
	progressWhole = "whole, before its append returned"
)

// progressIsWhole is the index of progressWhole in Survival.InProgress.
const progressIsWhole = 5

// lastKills is how many kills a result shows.
const lastKills = 20

// tally counts what a campaign does. Its methods may be called at once.
type tally struct {
	mu       sync.Mutex
	s        Survival
	byPlace  map[Place]int64
	survived map[Place]*PlaceSurvival
	notes    []string
	told     map[string]bool
	onKill   func(Kill)
	required []Place

	ended     int64 // lives that were over before they were killed
	lastWords string
	why       []string
}

// newTally returns an empty tally.
func newTally(o *Options) *tally {
	t := &tally{byPlace: make(map[Place]int64), survived: make(map[Place]*PlaceSurvival), told: make(map[string]bool), onKill: o.OnKill}
	for _, name := range []string{progressNone, progressSome1, progressSome2, progressSome3, progressSome4, progressWhole} {
		t.s.InProgress = append(t.s.InProgress, campaign.Class{Name: name})
	}
	if s, ok := o.Subject.(Thorough); ok {
		t.required = s.Places()
		if len(o.Aims) > 0 {
			t.required = o.Aims
		}
	}
	if o.Blind { // where a kill comes is chance
		t.required = nil
		t.note("blind: the instants of the kills differ from run to run, and so do their places")
	}
	return t
}

// kill counts a verified kill; before are the counts of the life's beginning.
func (t *tally) kill(k Kill, before Counts) {
	t.place(k.Place, k.Aim != "")
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := min(k.recovered(), k.Appended)
	acked, unacked := int64(k.Acked-min(k.Acked, before.Acked)), int64(k.Appended-min(k.Appended, k.Acked))
	survived, cutAway, progress := int64(kept-min(kept, k.Acked)), int64(k.Appended-kept), k.progress()
	t.s.Acked += acked
	t.s.Unacked += unacked
	t.s.Survived += survived
	t.s.CutAway += cutAway
	if progress >= 0 {
		t.s.InProgress[progress].Count++
	}
	if t.survived[k.Place] == nil {
		t.survived[k.Place] = &PlaceSurvival{Place: k.Place}
	}
	t.survived[k.Place].add(acked, unacked, survived, cutAway, progress)
	t.s.Kills = append(t.s.Kills, k)
	if n := len(t.s.Kills) - lastKills; n > 0 {
		t.s.Kills = t.s.Kills[n:]
	}
	if t.onKill != nil {
		t.onKill(k)
	}
}

// place counts a kill in a place.
func (t *tally) place(p Place, exact bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPlace[p]++
	if exact {
		t.s.Exact++
	} else {
		t.s.Blind++
	}
}

// recovered returns the last record that was there; where that was not measured, it
// is the last one that the oracles have asked for.
func (k *Kill) recovered() uint64 {
	if k.Recovered != nil {
		return *k.Recovered
	}
	return k.Acked
}

// progress returns the class of Survival.InProgress that a kill belongs to, or -1 where
// no record was in progress.
func (k *Kill) progress() int {
	switch {
	case k.Begun > k.Appended && k.recovered() > k.Appended:
		return progressIsWhole
	case k.Of == 0:
		return -1
	case k.Found == 0:
		return 0
	}
	return 1 + int(min(3, (4*k.Found-1)/k.Of))
}

// uncounted counts a death that is no verified kill.
func (t *tally) uncounted(d death) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Uncounted++
	if d.state == stateDone {
		t.ended++
		t.lastWords = d.text
	}
}

// because says why there is nothing to verify.
func (t *tally) because(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if why != "" {
		t.why = append(t.why, why)
	}
}

// whyUnverified returns why no kill was verified, where none was.
func (t *tally) whyUnverified() []string {
	why := t.why
	if t.ended > 0 {
		why = append(why, fmt.Sprintf("each of %d lives ended by itself before it could be killed: a workload has to go on until then%s",
			t.ended, t.lastWords))
	}
	if silent := t.s.Uncounted - t.ended; silent > 0 {
		why = append(why, fmt.Sprintf("no acknowledgement was seen in %d lives", silent))
	}
	return why
}

// note adds a note, once.
func (t *tally) note(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.told[s] {
		t.told[s] = true
		t.notes = append(t.notes, s)
	}
}

// result completes a result.
func (t *tally) result(r *campaign.Result, run *campaign.Run, hadTurns bool) *Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.required {
		r.Count(string(p), t.byPlace[p])
	}
	if r.Distinct == 0 {
		r.Unverified = t.whyUnverified()
	}
	r.Finish(run.Began())
	for _, p := range places {
		if n := t.byPlace[p]; n > 0 && !containsPlace(t.required, p) {
			r.Count(string(p), n)
		}
	}
	s := t.s
	s.Places = []PlaceSurvival{} // a list in JSON, not null
	for _, p := range places {
		if at := t.survived[p]; at != nil {
			s.Places = append(s.Places, *at)
		}
	}
	r.Notes = append(r.Notes, t.notes...)
	if !hadTurns {
		r.NotReached()
	}
	return &Result{Result: r, Survival: s}
}

// containsPlace reports whether a place is in a list.
func containsPlace(list []Place, p Place) bool {
	for _, q := range list {
		if p == q {
			return true
		}
	}
	return false
}
