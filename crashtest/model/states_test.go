//go:build linux

package model_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/durability"
)

// traced is a subject whose life is a few operations. It collects the states that it is
// asked about once the life has noted something.
type traced struct {
	life func(d *durability.Dir, note func()) error

	mu   sync.Mutex
	seen map[string]bool
}

// Name implements campaign.Subject.
func (s *traced) Name() string { return "traced" }

// Workload implements campaign.Subject.
func (s *traced) Workload(l *campaign.Life) error {
	d, err := durability.OpenDir(l.Dir, l.Tracer)
	if err != nil {
		return err
	}
	err = s.life(d, func() { l.Note(campaign.Acks{"x"}) })
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// Recover implements campaign.Subject.
func (s *traced) Recover(string) (campaign.Found, error) { return &tracedState{}, nil }

// RecoverFiles implements campaign.Pure.
func (s *traced) RecoverFiles(files map[string][]byte) (campaign.Found, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names = append(names, name+"="+runs(files[name]))
	}
	return &tracedState{s, strings.Join(names, " ")}, nil
}

// tracedState is one state, in words.
type tracedState struct {
	of    *traced
	words string
}

// Present implements campaign.Found.
func (f *tracedState) Present(k campaign.Known, _ bool) error {
	if k == nil || f.of == nil {
		return nil
	}
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.seen[f.words] = true
	return nil
}

// Legal implements campaign.Found.
func (*tracedState) Legal(campaign.Known, bool) error { return nil }

// runs tells bytes as runs, in words of eight: a64 is a sector of a. Those that do not
// fill a word are told as b.
func runs(p []byte) string {
	text := ""
	for len(p) > 0 {
		n := len(p) - len(bytes.TrimLeft(p, string(p[:1])))
		name := string(p[:1])
		if p[0] == 0 {
			name = "-"
		}
		if n%8 == 0 {
			text += fmt.Sprintf("%s%d", name, n/8)
		} else {
			text += fmt.Sprintf("%s%db", name, n)
		}
		p = p[n:]
	}
	return text
}

// smallLife is a few operations on a file in a directory.
type smallLife = func(d *durability.Dir, f *durability.File) error

// write writes a word of each letter at each offset.
func write(text string, at ...int64) smallLife {
	return func(_ *durability.Dir, f *durability.File) error {
		for i, off := range at {
			if _, err := f.WriteAt(bytes.Repeat([]byte(text[i:i+1]), 8), off); err != nil {
				return err
			}
		}
		return nil
	}
}

// smallTraces are operations, with every state that a crash can leave of them: by hand.
var smallTraces = []struct {
	name string
	size int64 // of f, a file of zeros that is durable
	life smallLife
	want []string
}{
	{"nothing", 8, write(""), []string{"f=-1"}},
	{"a word", 8, write("a", 0), []string{
		"f=-1", "f=a1",
		"f=a1b-7b", "f=a2b-6b", "f=a3b-5b", "f=a4b-4b", "f=a5b-3b", "f=a6b-2b", "f=a7b-1b",
	}},
	{"a word twice", 8, write("ab", 0, 0), []string{
		"f=-1", "f=a1", "f=b1",
		"f=a1b-7b", "f=a2b-6b", "f=a3b-5b", "f=a4b-4b", "f=a5b-3b", "f=a6b-2b", "f=a7b-1b",
		"f=b1ba7b", "f=b2ba6b", "f=b3ba5b", "f=b4ba4b", "f=b5ba3b", "f=b6ba2b", "f=b7ba1b",
	}},
	{"two sectors", 1024, write("ab", 0, 512), []string{
		"f=-128", "f=a1-127", "f=-64b1-63", "f=a1-63b1-63",
		"f=a1b-1023b", "f=a2b-1022b", "f=a3b-1021b", "f=a4b-1020b", "f=a5b-1019b", "f=a6b-1018b", "f=a7b-1017b",
		"f=a1-63b1b-511b", "f=a1-63b2b-510b", "f=a1-63b3b-509b", "f=a1-63b4b-508b", "f=a1-63b5b-507b", "f=a1-63b6b-506b", "f=a1-63b7b-505b",
	}},
	{"two sectors, a sync between them", 1024, func(d *durability.Dir, f *durability.File) error {
		return errors.Join(write("a", 0)(d, f), f.Sync(), write("b", 512)(d, f))
	}, []string{ // as above, without the first one's absence beside the second
		"f=-128", "f=a1-127", "f=a1-63b1-63",
		"f=a1b-1023b", "f=a2b-1022b", "f=a3b-1021b", "f=a4b-1020b", "f=a5b-1019b", "f=a6b-1018b", "f=a7b-1017b",
		"f=a1-63b1b-511b", "f=a1-63b2b-510b", "f=a1-63b3b-509b", "f=a1-63b4b-508b", "f=a1-63b5b-507b", "f=a1-63b6b-506b", "f=a1-63b7b-505b",
	}},
	{"a size", 8, func(_ *durability.Dir, f *durability.File) error { return f.Truncate(16) }, []string{"f=-1", "f=-2"}},
	{"a rename", 8, func(d *durability.Dir, f *durability.File) error { return d.Rename("f", "g", f) }, []string{"f=-1", "g=-1"}},
	{"two names", 8, func(d *durability.Dir, _ *durability.File) error {
		g, err := d.Create("g", 0o644)
		if err != nil {
			return err
		}
		return errors.Join(g.Close(), d.Remove("f"))
	}, []string{"", "f=-1", "f=-1 g=", "g="}},
	{"two names, a sync between them", 8, func(d *durability.Dir, _ *durability.File) error {
		g, err := d.Create("g", 0o644)
		if err != nil {
			return err
		}
		return errors.Join(g.Close(), d.Sync(), d.Remove("f"))
	}, []string{"f=-1", "f=-1 g=", "g="}},
}

// TestStatesOfSmallTraces lists by hand every state that a crash can leave of a few
// operations, and sees the model check these and no others. A process that dies in the
// middle of a write leaves a prefix of its bytes; a power loss in the middle of one leaves
// any of its words; and any of the sectors once it is complete.
func TestStatesOfSmallTraces(t *testing.T) {
	for _, c := range smallTraces {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &traced{seen: map[string]bool{}, life: func(d *durability.Dir, note func()) error {
				f, err := d.Create("f", 0o644)
				if err != nil {
					return err
				}
				if err = errors.Join(f.Truncate(c.size), f.Sync(), d.Sync()); err == nil {
					note()
					err = c.life(d, f)
				}
				return errors.Join(err, f.Close())
			}}
			// There are fewer states than that: the campaign ends when lives bring no more.
			r, err := model.Run(t.Context(), []campaign.Subject{s}, model.Options{
				Limits: campaign.Limits{Seed: 1, States: 1000, Cores: 1}, Depth: 1,
			})
			if err != nil || len(r.Findings) > 0 {
				t.Fatal(err, r.Findings)
			}
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(s.seen))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
