//go:build linux

package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// Check is what a kill.Program has for its Check where this package checks what it leaves.
const Check = "files"

// ErrNothing reports a program that neither syncs a file nor renames one into place.
var ErrNothing = errors.New("files: the workload has synced no file below {dir}, and has renamed none into place: there is nothing to ask for")

// Subject is a program that is watched. Its checks are those of this package.
type Subject struct {
	Program kill.Program

	// Long is how long the workload may run; it is killed then.
	Long time.Duration

	// Over ends the workload.
	Over context.Context //nolint:containedctx // a campaign.Subject's methods have none

	// Acks returns the file that {acks} is, which stays empty.
	Acks func(dir string) string

	// Weak leaves calls out.
	Weak *kill.Weakener

	// Snaps has all files looked at, at each moment, and acknowledgements taken from what the
	// program prints, for Losses.
	Snaps bool

	mu     sync.Mutex
	counts Counts
}

// Counts are what a program has done with its files.
type Counts struct {
	Synced int `json:"synced"`
	Placed int `json:"placed"`
	Dirs   int `json:"dirs"`
}

// Counts returns what was seen in all lives so far.
func (s *Subject) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// String tells it.
func (c Counts) String() string {
	return fmt.Sprintf("the program had synced files %d times and directories %d times, and renamed %d files into place", c.Synced, c.Dirs, c.Placed)
}

// Name implements campaign.Subject.
func (s *Subject) Name() string { return Check }

// Workload implements campaign.Subject.
func (s *Subject) Workload(l *campaign.Life) (err error) {
	dir, err := filepath.EvalSymlinks(l.Dir)
	if err != nil {
		return err
	}
	w := &watch{dir: dir, note: l.Note, weak: s.Weak, inodes: map[uint64]*inode{}, freed: map[*inode][]span{}, underway: map[int]underway{}, snaps: s.Snaps}
	if err = w.begin(); err != nil {
		return err
	}
	heard, out, err := os.Pipe()
	if err != nil {
		return err
	}
	if w.out, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", out.Fd())); err != nil {
		return errors.Join(err, heard.Close(), out.Close())
	}
	go func() { _, _ = io.Copy(io.Discard, heard) }() // until all that have it have ended
	defer func() { err = errors.Join(err, out.Close(), heard.Close()) }()
	acks := s.Acks(l.Dir)
	if err = os.WriteFile(acks, nil, 0o600); err != nil {
		return err
	}
	err = s.Program.Record(s.Over, l.Dir, acks, out, s.Long, w.start)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Synced += w.counts.Synced
	s.counts.Placed += w.counts.Placed
	s.counts.Dirs += w.counts.Dirs
	if err == nil && s.counts.Synced+s.counts.Placed == 0 {
		return ErrNothing
	}
	return err
}

// Recover implements campaign.Subject: it reads all files.
func (s *Subject) Recover(dir string) (campaign.Found, error) {
	f := found{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || d.IsDir() {
			return err
		}
		f[rel] = nil
		if !d.Type().IsRegular() {
			return nil
		}
		f[rel], err = readContent(path)
		return err
	})
	return f, err
}

// found is what each file holds, by its path; nil is what is no regular file.
type found map[string]*content

// Present implements campaign.Found: what was synced is there.
func (f found) Present(k campaign.Known, _ bool) error { return f.check(k, campaign.Lost) }

// Legal implements campaign.Found: what was renamed into place is there as a whole, or what was
// there before.
func (f found) Legal(k campaign.Known, _ bool) error { return f.check(k, campaign.Illegal) }

// check returns the first thing of a kind that is not as it has to be.
func (f found) check(k campaign.Known, kind campaign.Kind) error {
	known, _ := k.(*Known)
	if known == nil {
		return nil
	}
	want := known.want()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if what, of := f.lacks(path, want[path]); of == kind {
			return &campaign.Broken{Kind: kind, What: path + " " + what}
		}
	}
	return nil
}

// lacks says in what a file is not as it has to be, and of which kind that is.
func (f found) lacks(path string, w *Want) (what string, kind campaign.Kind) {
	got, there := f[path]
	switch {
	case !there && w.Must:
		return "is not there; it was there when its directory was synced", campaign.Lost
	case !there || w.Any:
		return "", ""
	case got == nil:
		return "is no regular file any more", campaign.Illegal
	}
	for _, n := range w.Needs {
		if what = n.Lacks(got); what == "" {
			return "", ""
		}
	}
	last := w.Needs[len(w.Needs)-1]
	if kind = campaign.Illegal; len(w.Needs) == 1 && last.Synced {
		kind = campaign.Lost
	}
	if len(w.Needs) > 1 {
		what += ", and is not what was there before"
	}
	return what, kind
}

// Known is what is known of a program's files at one moment.
type Known struct {
	Wants  map[string]*Want
	Acks   campaign.Acks // what the program has acknowledged, of a Subject that Snaps
	counts Counts
	snap   *snapshot // the same

	journal *journal // nil: it is of a token
	at      int
}

func (k *Known) want() map[string]*Want {
	if k.journal == nil {
		return k.Wants
	}
	return k.journal.want(k.at)
}

// String tells what is asked for.
func (k *Known) String() string {
	if k.journal == nil {
		return fmt.Sprintf("%d files are asked for", len(k.Wants))
	}
	return k.counts.String()
}

// AppendKnown implements kill.Codec.
func (s *Subject) AppendKnown(b []byte, k campaign.Known) ([]byte, error) {
	known, ok := k.(*Known)
	if !ok {
		return b, nil // of nothing
	}
	text, err := json.Marshal(known.want())
	return append(b, text...), err
}

// ParseKnown implements kill.Codec.
func (s *Subject) ParseKnown(b []byte) (campaign.Known, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // nothing is known
	}
	k := &Known{}
	if err := json.Unmarshal(b, &k.Wants); err != nil {
		return nil, err
	}
	for path, w := range k.Wants {
		if w == nil || !w.Any && len(w.Needs) == 0 || slices.ContainsFunc(w.Needs, (*Need).isNone) {
			return nil, fmt.Errorf("files: of %s nothing is asked for", path)
		}
	}
	return k, nil
}
