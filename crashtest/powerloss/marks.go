//go:build linux

package powerloss

import (
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Mark is one of the two promises that a program may keep or break, each for itself.
type Mark string

// The marks: a program may pass the first and fail the second, as one does that replaces files
// atomically and syncs nothing.
const (
	Whole        Mark = "what is there is legal"
	Acknowledged Mark = "what was acknowledged is there"
)

// markOf returns the mark that is missed by something of a kind.
func markOf(k campaign.Kind) Mark {
	if k == campaign.Lost {
		return Acknowledged
	}
	return Whole
}

// marks are those that were missed so far.
type marks struct {
	all bool // each finding counts

	mu     sync.Mutex
	missed map[Mark]bool
}

// isNew reports whether something broken counts: of what misses a mark only the first does.
func (m *marks) isNew(b *campaign.Broken) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all || !m.missed[markOf(b.Kind)]
}

// take is isNew, and after it nothing more counts that misses the mark.
func (m *marks) take(b *campaign.Broken) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	mark := markOf(b.Kind)
	if !m.all && m.missed[mark] {
		return false
	}
	m.missed[mark] = true
	return true
}

// report reports a finding, and ends the campaign where there is nothing more to find: of a
// program that has a check for each mark, when both are missed.
func (l *lab) report(f campaign.Finding) {
	l.run.Found(f)
	l.marks.mu.Lock()
	defer l.marks.mu.Unlock()
	if !l.o.All && (len(l.marks.missed) == 2 || !l.hasBothMarks()) {
		l.run.End()
	}
}

// asked returns the marks that are asked for.
func (l *lab) asked() []Mark {
	switch {
	case l.noAcks:
		return []Mark{Whole}
	case l.o.isProgram() && l.o.Program.Legal == "":
		return []Mark{Acknowledged}
	}
	return []Mark{Whole, Acknowledged}
}

// hasBothMarks reports whether each mark has a check of its own.
func (l *lab) hasBothMarks() bool { return l.o.isProgram() && l.o.Program.Legal != "" && !l.noAcks }
