package wal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// fileHarm harms a file, or the directory, by a size that it chooses.
type fileHarm struct {
	name string
	do   func(path string, at int64) error
}

// Harms of a campaign. at is an offset in the file.
var fileHarms = []fileHarm{
	{"truncate", os.Truncate},
	{"truncate", func(path string, at int64) error { return os.Truncate(path, at&^4095) }},
	{"truncate to nothing", func(path string, _ int64) error { return os.Truncate(path, 0) }},
	{"truncate and extend", func(path string, at int64) error { return truncatedTo(at, true)(path) }},
	{"truncate and extend", func(path string, at int64) error { return truncatedTo(at&^4095, true)(path) }},
	{"truncate to nothing and extend", func(path string, _ int64) error { return truncatedTo(0, true)(path) }},
	{"delete", func(path string, _ int64) error { return os.Remove(path) }},
	{"move away", func(path string, _ int64) error { return os.Rename(path, path+".away") }},
	{"replace by a copy", func(path string, _ int64) error { return replacedByCopy(path) }},
	{"replace by other content", func(path string, _ int64) error { return replacedByOther(path) }},
	{"overwrite", func(path string, at int64) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt(make([]byte, 4096), at&^4095)
			err = errors.Join(err, f.Close())
		}
		return err
	}},
}

var dirHarms = []fileHarm{
	{"move the directory away", func(path string, _ int64) error { return os.Rename(path, path+".away") }},
	{"remove the directory", func(path string, _ int64) error {
		for { // the writer may be making a file
			if err := os.RemoveAll(path); err == nil || !strings.Contains(err.Error(), "not empty") {
				return err
			}
		}
	}},
	{"replace the directory by a copy", func(path string, _ int64) error {
		if err := os.Rename(path, path+".away"); err != nil {
			return err
		}
		err := os.CopyFS(path, os.DirFS(path+".away"))
		if errors.Is(err, os.ErrNotExist) { // a file got another name by now
			err = nil
		}
		return err
	}},
}

// campaignRound is one log with a writer, a follower in another process and one
// in this, one file of which is harmed.
type campaignRound struct {
	t      *testing.T
	rng    *rand.Rand
	dir    string
	writer *harmedProcess
	beside *harmedProcess

	spared bool // nothing is harmed: no call may report anything

	harm  fileHarm
	file  string // its name; the directory's path where that is harmed
	size  int64
	at    int64 // offset
	held  bool  // records, when it was harmed
	since int64 // when the harm was done
}

// TestTruncationCampaign harms files of a live log at seeded moments and sizes,
// from the side of its writer's process, a follower's and one that follows in
// this process, on a disk and in memory. None of them dies of it; an error of
// the writer names the file; what it holds durable by a call that began behind
// the harm is there.
func TestTruncationCampaign(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	count := make(map[string]int)
	for i := range rounds(t, 8, 10) {
		// A round has a seed of its own; that of round 0 is the test's.
		own := seed + uint64(i)
		c := &campaignRound{t: t, rng: newRand(own), spared: i%8 == 5}
		outcome := c.run(own)
		count[c.harm.name+": "+outcome]++
		if t.Failed() {
			t.Fatalf("this round alone: SEAWALL_SEED=%d", own)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%6d %s", count[s], s)
	}
}

// run runs a round, and returns what the writer said.
func (c *campaignRound) run(seed uint64) string {
	t := c.t
	root := []func(tester) string{diskDir, fastDir}[c.rng.IntN(2)](t)
	defer os.RemoveAll(root)
	c.dir = filepath.Join(root, "log")
	c.writer = startHarmed(t, "write", seed, c.dir)
	if !c.writer.until("ready") {
		t.Fatalf("the writer ended: %v, %v", c.writer.said, c.writer.end())
	}
	c.beside = startHarmed(t, "follow", seed, c.dir)
	ctx, stop := context.WithCancel(context.Background())
	var other atomic.Uint64
	followed := make(chan error, 1)
	go func() { followed <- followHarmed(ctx, c.dir, func(lsn wal.LSN) { other.Store(uint64(lsn)) }) }()
	time.Sleep(time.Duration(c.rng.IntN(20_000)) * time.Microsecond)
	if c.rng.IntN(8) == 0 { // at Close
		_ = c.writer.in.Close()
		time.Sleep(time.Duration(c.rng.IntN(1000)) * time.Microsecond)
	}
	if !c.spared {
		c.doHarm()
	}
	time.Sleep(time.Duration(c.rng.IntN(25_000)) * time.Microsecond)
	werr, berr := c.writer.end(), c.beside.end()
	stop()
	ferr := <-followed
	if werr != nil || berr != nil {
		t.Errorf("%s: a process died: the writer: %v, the follower: %v", c.words(), werr, berr)
	}
	if n := other.Load(); n != 0 || len(c.beside.word("other")) != 0 {
		t.Errorf("%s: other bytes for a record: %d, %v", c.words(), n, c.beside.word("other"))
	}
	if c.since == 0 && (ferr != nil || len(c.beside.word("error")) != 0) {
		t.Errorf("%s: an error of a follower: %v, %v", c.words(), ferr, c.beside.word("error"))
	}
	said := c.writer.word("error")
	for _, s := range said {
		name, _, _ := strings.Cut(c.file, ".wal")
		name = strings.TrimSuffix(name, ".tmp")
		if c.since == 0 || !strings.Contains(s, name) {
			t.Errorf("%s: the error does not name the file: %s", c.words(), s)
		}
	}
	c.check()
	switch {
	case c.since == 0:
		return "nothing is harmed"
	case len(said) == 0:
		return "no error"
	}
	return "an error that names it"
}

// doHarm harms a file of the directory, or the directory. Where the file is gone by
// then it takes another.
func (c *campaignRound) doHarm() {
	for !c.tryHarm() {
	}
}

// tryHarm reports whether it harmed the file.
func (c *campaignRound) tryHarm() bool {
	if c.rng.IntN(8) == 0 {
		c.harm = dirHarms[c.rng.IntN(len(dirHarms))]
		c.file, c.held = c.dir, true
	} else {
		c.harm = fileHarms[c.rng.IntN(len(fileHarms))]
		c.pick()
	}
	path := c.dir
	if c.file != c.dir {
		path = filepath.Join(c.dir, c.file)
	}
	switch err := c.harm.do(path, c.at); {
	case err == nil:
		c.since = clock()
		return true
	case errors.Is(err, os.ErrNotExist) && c.file != c.dir: // it was renamed or removed by now
	default:
		c.t.Fatalf("%s: %v", c.words(), err)
	}
	return false
}

// pick picks a file, and an offset in it. Every other time it is the newest
// segment with records.
func (c *campaignRound) pick() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	var names []string
	tail := ""
	for _, e := range entries {
		names = append(names, e.Name())
		if e.Name() != lockFile && stamped(filepath.Join(c.dir, e.Name())) {
			tail = e.Name()
		}
	}
	c.file = names[c.rng.IntN(len(names))]
	if c.rng.IntN(2) == 0 && tail != "" {
		c.file = tail
	}
	// A record may come into it at any time; into the lock file none does.
	c.held = c.file != lockFile
	if st, err := os.Stat(filepath.Join(c.dir, c.file)); err == nil && st.Size() > 0 {
		c.size = st.Size()
		c.at = c.rng.Int64N(c.size)
	}
}

// words says what happened.
func (c *campaignRound) words() string {
	return fmt.Sprintf("%s %s at %d of %d", c.harm.name, c.file, c.at, c.size)
}

// check reads the directory. What the writer holds durable by calls that began
// behind the harm is there, or intact behind damage; so is all of it where the
// harm took no record.
func (c *campaignRound) check() {
	got := make(map[wal.LSN]bool)
	note := func(lsn wal.LSN, p []byte) error {
		if string(p) != string(harmedRecord(lsn)) {
			c.t.Errorf("%s: the log has other bytes for record %d", c.words(), lsn)
		}
		got[lsn] = true
		return nil
	}
	rep, err := wal.Dump(c.dir, wal.DumpOptions{Behind: note}, note)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, wal.ErrMissing) {
		c.t.Errorf("%s: dump: %v", c.words(), err)
	}
	owed := c.owed()
	for lsn := range owed {
		if !got[lsn] {
			c.t.Errorf("%s: record %d of %d was acknowledged behind the harm and is gone: %+v, %v; the writer said %v",
				c.words(), lsn, len(owed), rep, err, c.writer.said[len(c.writer.said)-1])
			return
		}
	}
}

// owed returns the records that the harm is no excuse for.
func (c *campaignRound) owed() map[wal.LSN]bool {
	owed := make(map[wal.LSN]bool)
	for _, line := range c.writer.said {
		var began int64
		var from, to wal.LSN
		if n, _ := fmt.Sscanf(line, "durable %d %d %d", &began, &from, &to); n == 3 {
			for lsn := from + 1; lsn <= to; lsn++ {
				if began > c.since || !c.held {
					owed[lsn] = true
				}
			}
		} else if n, _ = fmt.Sscanf(line, "front %d", &to); n == 1 {
			for lsn := range owed {
				if lsn < to {
					delete(owed, lsn)
				}
			}
		} else if n, _ = fmt.Sscanf(line, "back %d", &to); n == 1 {
			for lsn := range owed {
				if lsn > to {
					delete(owed, lsn)
				}
			}
		}
	}
	return owed
}
