//go:build linux

package model

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// judge recovers states, each content once, and asks the oracles for every pair
// of content and knowledge.
type judge struct {
	subject campaign.Subject
	pure    campaign.Pure // nil where recovery needs a directory
	scratch string
	every   int64 // one distinct state in so many is recovered on real files, too
	seen    map[durabilitytest.Key]campaign.Found
	pairs   map[pair]struct{} // that were judged, where pure is nil
	count   int64
	journal *journal // nil in a replay
	found   func(*state, *campaign.Broken) error
}

// pair is a content and a mark.
type pair struct {
	key    durabilitytest.Key
	mark   int
	killed bool
}

// newJudge returns a judge for one life.
func newJudge(s campaign.Subject, scratch string, every int64, to *journal) *judge {
	j := &judge{
		subject: s, scratch: scratch, every: every, journal: to,
		seen: map[durabilitytest.Key]campaign.Found{}, pairs: map[pair]struct{}{},
	}
	j.pure, _ = s.(campaign.Pure)
	return j
}

// check judges a state, and reports whether its content is new in the life.
func (j *judge) check(s *state, key durabilitytest.Key) (fresh bool, err error) {
	f, known := j.seen[key]
	if j.pure == nil {
		return j.checkReal(s, key, known)
	}
	if !known {
		var broken *campaign.Broken
		if f, broken = j.recover(s.content()); broken != nil {
			j.seen[key] = refused{broken}
			return true, j.found(s, broken)
		}
		j.seen[key] = f
		j.count++
		if err = j.journal.add(entry{kind: entryPure}); err != nil {
			return true, err
		}
	}
	if b := campaign.Judge(f, s.e.known, s.killed); b != nil {
		return !known, j.found(s, b)
	}
	if !known && j.every > 0 && j.count%j.every == 0 {
		return true, j.compare(s)
	}
	return !known, nil
}

// refused is what was found in a state that recovery refused: every other
// knowledge of the same content has been told of.
type refused struct{ *campaign.Broken }

// Present implements campaign.Found.
func (refused) Present(campaign.Known, bool) error { return nil }

// Legal implements campaign.Found.
func (refused) Legal(campaign.Known, bool) error { return nil }

// checkReal judges a state of a subject that needs a directory. What it finds
// there may be gone when it has looked, so each pair is recovered by itself.
func (j *judge) checkReal(s *state, key durabilitytest.Key, known bool) (bool, error) {
	p := pair{key, s.e.mark, s.killed}
	if _, again := j.pairs[p]; again {
		return false, nil
	}
	j.pairs[p] = struct{}{}
	j.seen[key] = nil
	if err := j.journal.add(entry{kind: entryReal}); err != nil {
		return !known, err
	}
	if b := j.judgeReal(s.content(), s.e.known, s.killed); b != nil {
		return !known, j.found(s, b)
	}
	return !known, nil
}

// compare recovers a state on real files, too.
func (j *judge) compare(s *state) error {
	if err := j.journal.add(entry{kind: entryReal}); err != nil {
		return err
	}
	if b := j.judgeReal(s.content(), s.e.known, s.killed); b != nil {
		return j.found(s, b)
	}
	return nil
}

// recover recovers a content in memory.
func (j *judge) recover(files durabilitytest.Files) (campaign.Found, *campaign.Broken) {
	f, err := j.pure.RecoverFiles(files)
	if err != nil {
		return nil, campaign.AsBroken(err, campaign.Misjudged)
	}
	return f, nil
}

// judgeReal recovers a content in a directory, and asks the oracles.
func (j *judge) judgeReal(files durabilitytest.Files, known campaign.Known, killed bool) *campaign.Broken {
	dir := filepath.Join(j.scratch, "state")
	defer remove(dir)
	if err := files.WriteTo(dir); err != nil {
		return &campaign.Broken{Kind: campaign.Stuck, What: fmt.Sprintf("the lab cannot make the state: %v", err)}
	}
	f, err := j.subject.Recover(dir)
	if err != nil {
		return placeless(campaign.AsBroken(err, campaign.Misjudged), dir)
	}
	return placeless(campaign.Judge(f, known, killed), dir)
}

// placeless returns what is broken without the name of the scratch directory,
// which is another one each time.
func placeless(b *campaign.Broken, dir string) *campaign.Broken {
	if b == nil || !strings.Contains(b.What, dir) {
		return b
	}
	c := *b
	c.What = strings.ReplaceAll(strings.ReplaceAll(b.What, dir+"/", ""), dir, ".")
	return &c
}

// again judges a content anew, and with nothing remembered.
func (j *judge) again(files durabilitytest.Files, known campaign.Known, killed, really bool) *campaign.Broken {
	if j.pure == nil || really {
		return j.judgeReal(files, known, killed)
	}
	f, b := j.recover(files)
	if b != nil {
		return b
	}
	return campaign.Judge(f, known, killed)
}

// key returns the state's key.
func (s *state) key() durabilitytest.Key {
	if s.killed {
		return s.files.Key()
	}
	return s.e.m.Key()
}

// content returns the state's files; they must not be kept or changed.
func (s *state) content() durabilitytest.Files {
	if s.killed {
		return s.files
	}
	return s.e.m.Files()
}
