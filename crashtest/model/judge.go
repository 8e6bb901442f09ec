//go:build linux

package model

import (
	"fmt"
	"path/filepath"
	"sync"

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
	real    int64
	met     *contents
	found   func(*state, *campaign.Broken) error
}

// contents are the keys of all contents that a campaign has met. Half a key is
// enough to count by.
type contents struct {
	shards [64]struct {
		mu   sync.Mutex
		keys map[uint64]struct{}
	}
}

// add enters a key, and reports whether it is new.
func (c *contents) add(k durabilitytest.Key) bool {
	s := &c.shards[k[1]%uint64(len(c.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[uint64]struct{}{}
	}
	n := len(s.keys)
	s.keys[k[0]] = struct{}{}
	return len(s.keys) > n
}

// pair is a content and a mark.
type pair struct {
	key    durabilitytest.Key
	mark   int
	killed bool
}

// newJudge returns a judge for one life.
func newJudge(s campaign.Subject, scratch string, every int64, met *contents) *judge {
	j := &judge{
		subject: s, scratch: scratch, every: every, met: met,
		seen: map[durabilitytest.Key]campaign.Found{}, pairs: map[pair]struct{}{},
	}
	j.pure, _ = s.(campaign.Pure)
	return j
}

// check judges a state, and reports whether its content is new in the campaign.
func (j *judge) check(s *state) (fresh bool, err error) {
	key := s.key()
	if fresh, err = j.judge(s, key); fresh {
		fresh = j.met.add(key)
	}
	return fresh, err
}

// judge judges a state, and reports whether its content is new in the life.
func (j *judge) judge(s *state, key durabilitytest.Key) (fresh bool, err error) {
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
	j.real++
	if b := j.judgeReal(s.content(), s.e.known, s.killed); b != nil {
		return !known, j.found(s, b)
	}
	return !known, nil
}

// compare recovers a state on real files, too.
func (j *judge) compare(s *state) error {
	j.real++
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
		return campaign.AsBroken(err, campaign.Misjudged)
	}
	return campaign.Judge(f, known, killed)
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
