//go:build linux

package experiment

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"

	"github.com/seawall-wal/seawall/durability"
)

const (
	thrashFileBytes  = 64 << 20
	thrashLimitBytes = 24 << 20
	thrashHotBytes   = 4 << 20
	thrashReads      = 32  // with readahead, which may read a window each
	thrashRandom     = 512 // without
	thrashLoad       = 8   // bytes of a random load
)

// thrash asks what happens where the file is larger than the memory for it.
var thrash = Experiment{
	Name: "thrash",
	Hypothesis: "Over a file larger than the memory limit each pass, also one of a regexp, reads from the device again, " +
		"and most random loads of 8 bytes are major faults that read a page at least.",
	Clauses: []string{"C4 recovery", "C9 one writer"},
	measure: measureThrash,
}

// thrashMeasured is what thrash counts.
type thrashMeasured struct {
	FileBytes  int64       `json:"file_bytes"`
	LimitBytes int64       `json:"limit_bytes"`
	PageBytes  int64       `json:"page_bytes"`
	Rows       []thrashRow `json:"rows"`
}

// thrashRow is one kind of work.
type thrashRow struct {
	Work  string `json:"work"`
	Loads int64  `json:"loads"`
	Asked int64  `json:"asked_bytes"` // that the work looked at
	Usage
}

// The kinds of work.
const (
	workScan       = "scan in order"
	workAgain      = "scan again"
	workMatch      = "regexp match"
	workRandom     = "random 8 bytes"
	workNoAhead    = "random, MADV_RANDOM"
	workHot        = "hot 4 MiB, alone"
	workHotScanned = "hot 4 MiB, during a scan"
	workScanning   = "that scan"
)

// thrashArgs are the child's.
type thrashArgs struct {
	Dir  string
	Seed uint64
}

// thrashFile is the file's name.
const thrashFile = "thrash"

// measureThrash has a child work in a memory cgroup. Pages are charged to who
// brings them in: the file must be cold when the child begins.
func measureThrash(ctx context.Context, l *lab) (measurement, error) {
	g, err := newMemoryGroup(thrashLimitBytes)
	if err != nil {
		return nil, err
	}
	l.later(g.remove)
	if _, err = l.coldFile(thrashFile, thrashFileBytes); err != nil {
		return nil, err
	}
	cmd, err := newChild(ctx, "thrash", thrashArgs{Dir: l.dir, Seed: l.seed})
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	m := &thrashMeasured{FileBytes: thrashFileBytes, LimitBytes: thrashLimitBytes, PageBytes: pageBytes}
	// The child begins when its standard input ends.
	err = answerAfter(cmd, &m.Rows, func() error {
		if err = g.enter(cmd.Process.Pid); err != nil {
			return cannot("a process cannot be moved into the memory cgroup: %v", err)
		}
		return in.Close()
	})
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil && killed(exit) {
		return nil, &noisyError{fmt.Sprintf("the kernel killed the process: the memory cgroup of %s is too small for it", bytesText(thrashLimitBytes))}
	}
	return m, err
}

// killed reports whether a process died of SIGKILL.
func killed(exit *exec.ExitError) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// thrashChild does the work, kind by kind.
func thrashChild(encoded []byte) error {
	var args thrashArgs
	if err := json.Unmarshal(encoded, &args); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, bufio.NewReader(os.Stdin)); err != nil {
		return err
	}
	d, err := durability.OpenDir(args.Dir, nil)
	if err != nil {
		return err
	}
	f, err := d.Open(thrashFile, false)
	if err != nil {
		return err
	}
	w := &thrasher{f: f, random: rand.New(rand.NewPCG(args.Seed, 1))}
	for _, work := range []func() error{
		func() error { return w.add(workScan, thrashFileBytes, w.scan) },
		func() error { return w.add(workAgain, thrashFileBytes, w.scan) },
		func() error { return w.add(workMatch, thrashFileBytes, w.match) },
		func() error { return w.scattered(workRandom, durability.AdviceNormal, thrashReads) },
		func() error { return w.scattered(workNoAhead, durability.AdviceRandom, thrashRandom) },
		w.hotPart,
	} {
		if err := work(); err != nil {
			return err
		}
	}
	if err := errors.Join(f.Close(), d.Close()); err != nil {
		return err
	}
	return reply(w.rows)
}

// thrasher is the child's work on the file.
type thrasher struct {
	f      *durability.File
	random *rand.Rand
	rows   []thrashRow
}

// mapping maps the file again, so that no page of it is mapped.
func (w *thrasher) mapping(use func(m *durability.Mapping) error) error {
	m, err := w.f.Map(thrashFileBytes, false)
	if err != nil {
		return err
	}
	return errors.Join(use(m), m.Unmap())
}

// add does one pass and adds what it cost.
func (w *thrasher) add(name string, asked int64, work func(m *durability.Mapping) error) error {
	return w.mapping(func(m *durability.Mapping) error {
		u, err := metered(func() error { return work(m) })
		w.rows = append(w.rows, thrashRow{Work: name, Loads: 1, Asked: asked, Usage: u})
		return err
	})
}

// scan computes a checksum of all.
func (w *thrasher) scan(m *durability.Mapping) error {
	const piece = 1 << 20
	for off := int64(0); off < m.Len(); off += piece {
		if _, err := m.Checksum(off, piece); err != nil {
			return err
		}
	}
	return nil
}

// match looks for what is not there. Random bytes hold no run of the letter so
// long.
func (w *thrasher) match(m *durability.Mapping) error {
	pattern := regexp.MustCompile(`seawall{20}[0-9]+`)
	return durability.Guard(func() error {
		if pattern.Match(m.Bytes()) {
			return errors.New("experiment: random bytes match")
		}
		return nil
	})
}

// scattered loads from random places.
func (w *thrasher) scattered(name string, advice durability.Advice, loads int) error {
	offsets := make([]int64, loads)
	for i := range offsets {
		offsets[i] = w.random.Int64N(thrashFileBytes/thrashLoad) * thrashLoad
	}
	err := w.add(name, int64(loads)*thrashLoad, func(m *durability.Mapping) error {
		if err := m.Advise(advice, 0, m.Len()); err != nil {
			return err
		}
		return load(m, offsets)
	})
	w.rows[len(w.rows)-1].Loads = int64(loads)
	return err
}

// load loads 8 bytes at each offset.
func load(m *durability.Mapping, offsets []int64) error {
	for _, off := range offsets {
		if _, err := m.LoadUint64(off); err != nil {
			return err
		}
	}
	return nil
}

// hotPart loads from a small part of the file, at random, first alone and then
// while a scan of the whole file runs in another goroutine.
func (w *thrasher) hotPart() error {
	offsets := everyPage(0, thrashHotBytes)
	w.random.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
	return w.mapping(func(hot *durability.Mapping) error {
		if err := hot.PopulateRead(0, thrashHotBytes); err != nil {
			return err
		}
		rounds := int64(0)
		alone, err := metered(func() error { rounds++; return load(hot, offsets) })
		if err != nil {
			return err
		}
		w.addHot(workHot, rounds*int64(len(offsets)), alone)
		var scanned Usage
		var scanErr error
		done := make(chan struct{})
		var wait sync.WaitGroup
		wait.Go(func() {
			defer close(done)
			scanErr = w.mapping(func(m *durability.Mapping) (err error) {
				scanned, err = metered(func() error { return w.scan(m) })
				return err
			})
		})
		rounds = 0
		busy, err := metered(func() error {
			for {
				rounds++
				if err = load(hot, offsets); err != nil {
					return err
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
		wait.Wait()
		w.addHot(workHotScanned, rounds*int64(len(offsets)), busy)
		w.rows = append(w.rows, thrashRow{Work: workScanning, Loads: 1, Asked: thrashFileBytes, Usage: scanned})
		return errors.Join(err, scanErr)
	})
}

// addHot adds a row of small loads.
func (w *thrasher) addHot(name string, loads int64, u Usage) {
	w.rows = append(w.rows, thrashRow{Work: name, Loads: loads, Asked: loads * thrashLoad, Usage: u})
}

// check implements measurement. The file is larger than the group's limit, which
// no other work can raise: less memory makes reads more. Half of what must miss at
// random is left to a kernel that keeps what it needs again. During the scan the
// hot loads may read a part of it, in readahead, and a page that is being moved or
// written is a major fault that reads nothing.
func (m *thrashMeasured) check() complaints {
	var c complaints
	missing := m.FileBytes - m.LimitBytes
	during := int64(0)
	for _, r := range m.Rows {
		switch r.Work {
		case workHotScanned:
			during = r.ReadBytes
		case workScan, workAgain, workMatch, workScanning:
			if r.Work == workScanning {
				r.ReadBytes += during
			}
			c.unless(r.ReadBytes >= missing, "%s: of %s only %s came from the device, with memory for %s",
				r.Work, bytesText(m.FileBytes), bytesText(r.ReadBytes), bytesText(m.LimitBytes))
		case workRandom:
			c.unless(r.ReadBytes >= r.Asked*2, "%s: %d loads read %s", r.Work, r.Loads, bytesText(r.ReadBytes))
		case workNoAhead:
			least := r.Loads * missing / m.FileBytes / 2
			c.unless(r.MajorFaults >= least, "%s: of %d loads only %d were major faults", r.Work, r.Loads, r.MajorFaults)
			c.unless(r.ReadBytes >= r.MajorFaults*m.PageBytes/2, "%s: %d major faults read only %s", r.Work, r.MajorFaults, bytesText(r.ReadBytes))
		}
	}
	return c
}

// table implements measurement.
func (m *thrashMeasured) table() table {
	t := table{
		Columns: []string{"work", "loads", "bytes asked", "major", "read from device", "read for each byte", "time"},
		Note:    fmt.Sprintf("a file of %s in a memory cgroup of %s", bytesText(m.FileBytes), bytesText(m.LimitBytes)),
	}
	for _, r := range m.Rows {
		t.add(r.Work, r.Loads, bytesText(r.Asked), r.MajorFaults, bytesText(r.ReadBytes),
			trimmed(float64(r.ReadBytes)/float64(max(r.Asked, 1))), timeText(r.Seconds))
	}
	return t
}
