//go:build linux

package model

import (
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// details are what a token holds.
type details struct {
	Subject string `json:"s"`
	Steps   []step `json:"p"`
	Life    uint64 `json:"l,omitempty"` // the seed of a life that broke a promise by itself
	Broken  bool   `json:"b,omitempty"` // it did
	Exact   bool   `json:"x,omitempty"` // the lives are lived by order

	Mutate campaign.Mutations `json:"m,omitempty"`
}

// tell shrinks a state that breaks a promise, and tells of it.
func tell(s *state, b *campaign.Broken) (campaign.Finding, error) {
	e := s.e
	f := campaign.Finding{Kind: b.Kind, Clause: b.Clause, Subject: e.r.subject.Name(), Seed: e.r.seed}
	f.Shows = []string{onAny}
	if !s.killed {
		b, f.Lost = e.shrink(b)
		f.Shows = e.shown()
	}
	f.Summary = fmt.Sprintf("%s: %s", b.Kind, b.What)
	f.Summary += ", " + s.words()
	if len(f.Lost) > 0 {
		f.Summary += fmt.Sprintf(", which took %s", f.Lost[0])
		if more := len(f.Lost) - 1; more > 0 {
			f.Summary += fmt.Sprintf(" and %d more", more)
		}
	}
	var err error
	f.Token, err = campaign.Token("model", details{
		Subject: e.r.subject.Name(), Steps: append(slices.Clone(e.r.path), s.step()), Exact: e.r.exact, Mutate: e.r.mutate,
	})
	return f, err
}

// words says by which crash a state came about.
func (s *state) words() string {
	e := s.e
	kind := "after a power loss"
	if s.killed {
		kind = "after a kill"
		if ev := e.last(); ev != nil && s.torn < len(ev.Data)+len(ev.Data2) {
			kind = fmt.Sprintf("after a kill at byte %d of a store", s.torn)
		}
	}
	text := fmt.Sprintf("%s at event %d (%s)", kind, e.at, eventWords(e.last()))
	if e.r.depth > 0 {
		where := "during recovery"
		if e.at > e.r.recovered() {
			where = "behind the recovery"
		}
		text += fmt.Sprintf(", %s from %d earlier %s", where, e.r.depth, plural(e.r.depth, "crash", "crashes"))
		if died := deaths(e.r.path); died > 0 && !s.killed {
			text += fmt.Sprintf(", the last %s, whose unsynced stores were at stake still", plural(died, "a kill", fmt.Sprintf("%d kills", died)))
		}
	}
	if k, ok := e.known.(fmt.Stringer); ok {
		text += "; " + k.String()
	}
	return text
}

func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// last returns the event before the crash, or nil.
func (e *explorer) last() *durability.Event {
	if e.at == 0 {
		return nil
	}
	return &e.r.events[e.at-1]
}

// eventWords names an event.
func eventWords(e *durability.Event) string {
	if e == nil {
		return "before anything"
	}
	text := e.Op.String()
	if e.Name != "" {
		text += " of " + e.Name
	}
	if e.NewName != "" {
		text += " to " + e.NewName
	}
	switch e.Op {
	case durability.OpStore, durability.OpWrite, durability.OpMsync:
		n := e.Length
		if n == 0 {
			n = int64(len(e.Data) + len(e.Data2))
		}
		text += fmt.Sprintf(", %d bytes at %d", n, e.Offset)
	}
	if e.Op != durability.OpStore {
		text = e.Phase.String() + " " + text
	}
	return text
}

// mostAsked bounds the states by which a finding is shrunk, in memory and on real
// files: what is left then is told. It is no time: what a campaign tells must not
// depend on how fast it is.
const (
	mostAsked     = 4000
	mostAskedReal = 300
)

// shrink finds the fewest pieces that must be lost, chooses that state, and
// tells of them. What is broken may be less than before: a smaller loss.
func (e *explorer) shrink(b *campaign.Broken) (*campaign.Broken, []string) {
	type item struct{ piece, option int }
	var items []item
	for _, c := range e.choices() {
		items = append(items, item{c[0], c[1]})
	}
	really, asked := e.checker.pure == nil, 0
	choose := func(list []item) *campaign.Broken {
		e.renewAll()
		for _, it := range list {
			e.m.Set(it.piece, it.option)
		}
		return e.checker.recheck(e.m.Files(), e.known, false, really)
	}
	same := func(list []item) bool {
		if asked++; asked > mostAsked || really && asked > mostAskedReal {
			return false
		}
		got := choose(list)
		return got != nil && got.Kind == b.Kind && got.Clause == b.Clause
	}
	if !same(items) { // it shows on real files only
		really, asked = true, 0
		if !same(items) {
			_ = choose(items)
			return b, []string{"it did not show a second time"}
		}
	}
	items = campaign.Shrink(items, same)
	if got := choose(items); got != nil {
		b = got
	}
	var lost []string
	for _, it := range items {
		lost = append(lost, e.pieceWords(&e.m.Pieces()[it.piece], it.option))
	}
	return b, joinWords(lost)
}

// renewAll makes the newest state again, including what Set changed directly.
func (e *explorer) renewAll() {
	for i := range e.m.Pieces() {
		e.m.Set(i, e.m.Pieces()[i].Options-1)
	}
	e.changed = e.changed[:0]
}

// pieceWords says what was lost of a piece.
func (e *explorer) pieceWords(p *durabilitytest.Piece, option int) string {
	since := "under way"
	if p.Event < len(e.r.events) && p.Event < e.at-1 {
		since = fmt.Sprintf("not synced since event %d", p.Event+1)
	}
	switch p.Kind {
	case durabilitytest.NamePiece:
		if p.NewName != "" {
			return fmt.Sprintf("the %s of %s to %s, %s", p.Op, p.Name, p.NewName, since)
		}
		return fmt.Sprintf("the %s of %s, %s", p.Op, p.Name, since)
	case durabilitytest.SizePiece:
		return fmt.Sprintf("the size of %s, %s", p.Name, since)
	case durabilitytest.WordPiece:
		return fmt.Sprintf("the word at byte %d of %s, %s", p.Offset, p.Name, since)
	case durabilitytest.CutPiece:
		return fmt.Sprintf("the truncation of the sector at byte %d of %s, %s", p.Offset, p.Name, since)
	}
	what := "the sector"
	if option > 0 {
		what = fmt.Sprintf("what came after state %d of %d of the sector", option+1, p.Options)
	}
	return fmt.Sprintf("%s at byte %d of %s (page %d), %s", what, p.Offset, p.Name, p.Offset/4096, since)
}

// mostWords bounds the list of what was lost.
const mostWords = 20

func joinWords(lost []string) []string {
	if len(lost) > mostWords {
		more := len(lost) - mostWords
		lost = append(lost[:mostWords:mostWords], fmt.Sprintf("and %d more", more))
	}
	return lost
}

// tellLife tells of a life that broke a promise by itself.
func tellLife(r *recording, b *campaign.Broken) (campaign.Finding, error) {
	f := campaign.Finding{
		Kind: b.Kind, Clause: b.Clause, Subject: r.subject.Name(), Seed: r.seed,
		Summary: fmt.Sprintf("%s: %s, in a life", b.Kind, b.What),
	}
	if r.depth > 0 {
		last := &r.path[r.depth-1]
		kind := "power loss"
		if last.Killed {
			kind = "kill"
		}
		f.Summary = fmt.Sprintf("%s: %s, in the life after a %s at event %d (crash %d)", b.Kind, b.What, kind, last.At, r.depth)
	}
	if k, ok := r.first.(fmt.Stringer); ok {
		f.Summary += "; " + k.String()
	}
	var err error
	f.Token, err = campaign.Token("model", details{Subject: r.subject.Name(), Steps: r.path, Life: r.seed, Broken: true, Exact: r.exact, Mutate: r.mutate})
	return f, err
}
