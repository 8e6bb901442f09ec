package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// neighbour is a process that does something to one file of a live log, once.
type neighbour struct {
	target target
	harm   harm
	moment moment
	at     int // how many suitable calls pass first

	dir string
	log *wal.Log

	mu       sync.Mutex
	doing    string // what the writer is at: of moment.doing
	checking bool   // a sync has ended and was not acknowledged yet
	seen     int
	file     string // that was harmed
	renamed  string // the name that it was about to get, if any
	held     bool   // records, at that moment
	what     string // the call at which it was
	before   wal.LSN
	err      error
}

// target says which of a log's files is harmed: the name, or none.
type target struct {
	name  string
	often float64 // how many suitable calls there are, at the least
	pick  func(names []string, stamped func(string) bool, c *durabilitytest.Call) string
}

// isTemp and isFinal tell a segment's two kinds of names.
func isTemp(name string) bool  { return strings.HasSuffix(name, ".tmp") }
func isFinal(name string) bool { return strings.HasSuffix(name, ".wal") }

// spareTarget is the segment that is kept to be used again. It holds no records.
const spareTarget = "spare"

var targets = []target{
	{"lock", 6, func([]string, func(string) bool, *durabilitytest.Call) string { return lockFile }},
	{"first", 6, func(names []string, stamped func(string) bool, _ *durabilitytest.Call) string {
		return segmentAt(names, stamped, func(int) int { return 0 })
	}},
	{"middle", 6, func(names []string, stamped func(string) bool, _ *durabilitytest.Call) string {
		return segmentAt(names, stamped, func(n int) int { return n / 2 })
	}},
	{"tail", 6, func(names []string, stamped func(string) bool, _ *durabilitytest.Call) string {
		return segmentAt(names, stamped, func(n int) int { return n - 1 })
	}},
	{"prepared", 6, func(names []string, stamped func(string) bool, _ *durabilitytest.Call) string {
		return firstOf(names, func(name string) bool { return isFinal(name) && !stamped(name) })
	}},
	{"temporary", 6, func(names []string, _ func(string) bool, _ *durabilitytest.Call) string {
		return firstOf(names, isTemp)
	}},
	{spareTarget, 0.2, func(names []string, _ func(string) bool, c *durabilitytest.Call) string {
		switch {
		case c == nil:
		case c.Op == durability.OpRename && isFinal(c.Name): // it gets a new name next
			return firstOf(names, func(name string) bool { return name == c.Name || name == c.NewName })
		case c.Op == durability.OpRemove && isFinal(c.Name) && names[0] < c.Name: // it was kept
			return names[0]
		}
		return ""
	}},
}

// segmentAt returns one of the segments with records.
func segmentAt(names []string, stamped func(string) bool, which func(int) int) string {
	var s []string
	for _, name := range names {
		if (isFinal(name) || isTemp(name)) && stamped(name) {
			s = append(s, name)
		}
	}
	if len(s) < 3 {
		return ""
	}
	return s[which(len(s))]
}

// firstOf returns the first name of a kind.
func firstOf(names []string, is func(string) bool) string {
	if i := slices.IndexFunc(names, is); i >= 0 {
		return names[i]
	}
	return ""
}

var neighbourHarms = []harm{
	{"unlink", os.Remove},
	{"move away", func(path string) error { return os.Rename(path, path+".away") }},
	{"truncate to nothing", truncatedTo(0, false)},
	{"truncate to a page", truncatedTo(4096, false)},
	{"truncate to the half", truncatedTo(wal.MinSegmentBytes/2, false)},
	{"truncate to nothing and extend", truncatedTo(0, true)},
	{"truncate to the half and extend", truncatedTo(wal.MinSegmentBytes/2, true)},
	{"replace by a copy", replacedByCopy},
	{"replace by other content", replacedByOther},
	{"overwrite with zeros", overwritten(0, 1)},
	{"overwrite the first half with zeros", overwritten(0, 2)},
	{"overwrite the second half with zeros", overwritten(1, 2)},
	{"punch a hole", func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, frame.DataOffset, 4096)
		return errors.Join(err, f.Close())
	}},
	{"take all permissions", func(path string) error { return os.Chmod(path, 0) }},
}

// replacedByOther renames a file of the same size over it.
func replacedByOther(path string) error {
	st, err := os.Stat(path)
	if err == nil {
		err = os.WriteFile(path+".other", record(1, int(st.Size())), 0o644)
	}
	if err == nil {
		err = os.Rename(path+".other", path)
	}
	return err
}

// overwritten writes zeros over one of so many equal parts of a file.
func overwritten(part, of int64) func(string) error {
	return func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err == nil {
			_, err = f.WriteAt(make([]byte, st.Size()/of), st.Size()/of*part)
		}
		return errors.Join(err, f.Close())
	}
}

// moment is when a file is harmed: at a call, or between two of the user's
// calls, which is none.
type moment struct {
	name  string
	doing string // what the writer is at; "" is anything
	match func(c *durabilitytest.Call) bool
}

var harmMoments = []moment{
	{"idle", "", func(c *durabilitytest.Call) bool { return c == nil }},
	{"sync", "", func(c *durabilitytest.Call) bool { return c != nil && c.Op == durability.OpMsync }},
	{"preparation", "", func(c *durabilitytest.Call) bool {
		return c != nil && (isTemp(c.Name) || isTemp(c.NewName)) && c.Op != durabilitytest.OpStatx
	}},
	{"rotation", "append", func(c *durabilitytest.Call) bool {
		return c != nil && c.Op != durability.OpMsync && c.Op != durabilitytest.OpStatx
	}},
	{"front cut", "front cut", func(c *durabilitytest.Call) bool { return c != nil }},
	{"back cut", "back cut", func(c *durabilitytest.Call) bool { return c != nil }},
	{"close", "close", func(c *durabilitytest.Call) bool { return c != nil }},
}

// spareMoments are when there is a spare.
var spareMoments = []moment{harmMoments[2], harmMoments[4]}

// hook is the hook for durabilitytest.InjectDir.
func (n *neighbour) hook(c *durabilitytest.Call) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pass(c)
	if c.Op == durability.OpMsync && c.Phase == durability.After {
		n.checking = true
	}
	return nil
}

// idle is a moment between two calls.
func (n *neighbour) idle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pass(nil)
}

// now says what the writer does from now on.
func (n *neighbour) now(doing string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doing = doing
}

// onDurable is the log's OnDurable.
func (n *neighbour) onDurable(wal.LSN) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.checking = false
}

// harmed returns the harmed file's name, or none.
func (n *neighbour) harmed() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file
}

// pass does the harm if its moment has come. Between the check that follows a
// sync and the acknowledgement there is none: what happens there might as well
// happen behind it, and is not for anybody to see.
func (n *neighbour) pass(c *durabilitytest.Call) {
	if n.doing == "open" || n.file != "" || n.err != nil || !n.moment.match(c) || n.moment.doing != "" && n.moment.doing != n.doing ||
		n.checking && (c == nil || c.Op != durability.OpMsync) && n.target.name != spareTarget {
		return
	}
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		n.err = err
		return
	}
	var names []string
	for _, e := range entries {
		if isFinal(e.Name()) || isTemp(e.Name()) {
			names = append(names, e.Name())
		}
	}
	file := n.target.pick(names, func(name string) bool { return stamped(filepath.Join(n.dir, name)) }, c)
	if file == "" {
		return
	}
	if n.seen++; n.seen <= n.at {
		return
	}
	held := stamped(filepath.Join(n.dir, file))
	err = n.harm.do(filepath.Join(n.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return // the writer has just renamed or removed it
	}
	n.file, n.held, n.err, n.before = file, held, err, n.log.DurableLSN()
	n.what = n.doing
	if c != nil {
		if c.Name == file {
			n.renamed = c.NewName
		}
		n.what = fmt.Sprintf("%s, %s of %s, phase %s", n.doing, c.Op, c.Name, c.Phase)
	}
}

// stamped reports whether a segment's file has a stamp.
func stamped(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, 8)
	_, err = f.ReadAt(b, frame.StampOffset)
	return err == nil && !bytes.Equal(b, make([]byte, 8))
}

// TestNeighbours does every harm to every kind of file of a live log, at
// moments of every kind, while readers of every kind are at work. Nobody dies of
// it; the writer's errors name the file; what it acknowledges behind the harm
// is there when the log is opened again, or lies intact behind damage that is
// named; and no reader ever gets other bytes than were appended.
func TestNeighbours(t *testing.T) {
	seed := newSeed(t)
	for i, tg := range targets {
		t.Run(tg.name, func(t *testing.T) {
			t.Parallel()
			rng := newRand(seed + uint64(i))
			count := make(map[string]int)
			moments := harmMoments
			if tg.name == spareTarget {
				moments = spareMoments
			}
			for range rounds(t, 1, 2) {
				for _, at := range rng.Perm(len(neighbourHarms)) {
					// Each harm is done to every other kind of file.
					if (at+i)%2 == 0 || thorough() {
						count[harmLife(t, rng, tg, neighbourHarms[at], moments[rng.IntN(len(moments))])]++
					}
				}
			}
			// The moment may have passed each time, but does not for ever.
			for sum(count) == count[notHarmed] && !t.Failed() {
				count[harmLife(t, rng, tg, neighbourHarms[0], moments[rng.IntN(len(moments))])]++
			}
			t.Logf("%d lives, by what the writer said: %v", sum(count), count)
		})
	}
}

// sum returns how many are counted.
func sum(count map[string]int) (n int) {
	for _, c := range count {
		n += c
	}
	return n
}
