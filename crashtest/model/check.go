//go:build linux

package model

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// checker recovers states, each content once, and asks the oracles for every pair
// of content and knowledge.
type checker struct {
	subject campaign.Subject
	pure    campaign.Pure // nil where recovery needs a directory
	scratch string
	every   int64 // one distinct state in so many is recovered on real files, too
	seen    map[durabilitytest.Key]campaign.Found
	pairs   map[pair]struct{} // that were checked, where pure is nil
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

// newChecker returns a checker for one life.
func newChecker(s campaign.Subject, scratch string, every int64, to *journal) *checker {
	c := &checker{
		subject: s, scratch: scratch, every: every, journal: to,
		seen: map[durabilitytest.Key]campaign.Found{}, pairs: map[pair]struct{}{},
	}
	c.pure, _ = s.(campaign.Pure)
	return c
}

// check checks a state, and reports whether its content is new in the life.
func (c *checker) check(s *state, key durabilitytest.Key) (fresh bool, err error) {
	f, known := c.seen[key]
	if c.pure == nil {
		return c.checkPair(s, key, known)
	}
	if !known {
		var broken *campaign.Broken
		if f, broken = c.recover(s.content()); broken != nil {
			c.seen[key] = refused{broken}
			return true, c.found(s, broken)
		}
		c.seen[key] = f
		c.count++
		if err = c.journal.add(entry{kind: entryPure}); err != nil {
			return true, err
		}
	}
	if b := campaign.Check(f, s.e.known, s.killed); b != nil {
		return !known, c.found(s, b)
	}
	if !known && c.every > 0 && c.count%c.every == 0 {
		return true, c.compare(s)
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

// checkPair checks a state of a subject that needs a directory. A check may change the
// files, so the state is written to a directory again for each pair of content and
// mark.
func (c *checker) checkPair(s *state, key durabilitytest.Key, known bool) (bool, error) {
	p := pair{key, s.e.mark, s.killed}
	if _, again := c.pairs[p]; again {
		return false, nil
	}
	c.pairs[p] = struct{}{}
	c.seen[key] = nil
	if err := c.journal.add(entry{kind: entryReal}); err != nil {
		return !known, err
	}
	if b := c.checkOnDisk(s.content(), s.e.known, s.killed); b != nil {
		return !known, c.found(s, b)
	}
	return !known, nil
}

// compare recovers a state on real files, too.
func (c *checker) compare(s *state) error {
	if err := c.journal.add(entry{kind: entryReal}); err != nil {
		return err
	}
	if b := c.checkOnDisk(s.content(), s.e.known, s.killed); b != nil {
		return c.found(s, b)
	}
	return nil
}

// recover recovers a content in memory.
func (c *checker) recover(files durabilitytest.Files) (campaign.Found, *campaign.Broken) {
	f, err := c.pure.RecoverFiles(files)
	if err != nil {
		return nil, campaign.AsBroken(err, campaign.Misjudged)
	}
	return f, nil
}

// checkOnDisk recovers a content in a directory, and asks the oracles.
func (c *checker) checkOnDisk(files durabilitytest.Files, known campaign.Known, killed bool) *campaign.Broken {
	dir := filepath.Join(c.scratch, "state")
	defer remove(dir)
	if err := files.WriteTo(dir); err != nil {
		return &campaign.Broken{Kind: campaign.Stuck, What: fmt.Sprintf("the lab cannot make the state: %v", err)}
	}
	f, err := c.subject.Recover(dir)
	if err != nil {
		return placeless(campaign.AsBroken(err, campaign.Misjudged), dir)
	}
	if b := campaign.Check(f, known, killed); b != nil {
		return placeless(b, dir)
	}
	if d, ok := c.subject.(campaign.Detector); ok {
		if err := d.Detect(dir); err != nil {
			return placeless(campaign.AsBroken(err, campaign.Misjudged), dir)
		}
	}
	return nil
}

// placeless returns what is broken without the name of the scratch directory,
// which is another one each time.
func placeless(b *campaign.Broken, dir string) *campaign.Broken {
	if b == nil || !strings.Contains(b.What, dir) {
		return b
	}
	plain := *b
	plain.What = strings.ReplaceAll(strings.ReplaceAll(b.What, dir+"/", ""), dir, ".")
	return &plain
}

// recheck recovers and checks a content again, ignoring what is remembered of it.
func (c *checker) recheck(files durabilitytest.Files, known campaign.Known, killed, really bool) *campaign.Broken {
	if c.pure == nil || really {
		return c.checkOnDisk(files, known, killed)
	}
	f, b := c.recover(files)
	if b != nil {
		return b
	}
	return campaign.Check(f, known, killed)
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
