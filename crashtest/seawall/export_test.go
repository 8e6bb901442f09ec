//go:build linux

package seawall

import (
	"math/rand/v2"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// Lived is what one life did.
type Lived struct {
	Options             wal.Options
	Calm                bool
	Did, Situated       map[string]int
	Rotations, Recycled uint64
}

// Live lives a life that begins in an empty directory, as the model does.
func Live(dir string, seed uint64, s Log, tracer durability.Tracer) (*Lived, error) {
	var logs []*wal.Log
	open := (&Log{OpenLog: s.OpenLog}).open
	s.OpenLog = func(dir string, o wal.Options) (*wal.Log, error) {
		l, err := open(dir, o)
		logs = append(logs, l)
		return l, err
	}
	var mu sync.Mutex // the log's goroutines acknowledge, too
	var known campaign.Known
	situated := map[string]int{}
	w := s.work(&campaign.Life{
		Dir: dir, Seed: seed, Rand: rand.New(rand.NewPCG(seed, 0x11fe)), Tracer: tracer,
		Note: func(k campaign.Known) {
			mu.Lock()
			defer mu.Unlock()
			known = k
			situated[campaign.SituationOf(&s, k)]++
		},
		Now: func() campaign.Known {
			mu.Lock()
			defer mu.Unlock()
			return known
		},
	})
	live := w.live
	if s.Paired {
		live = w.livePairs
	}
	err := live()
	lived := &Lived{Options: w.opts, Calm: w.calm, Did: w.did, Situated: situated}
	for _, l := range logs {
		if l != nil {
			st := l.Stats()
			lived.Rotations += st.Rotations
			lived.Recycled += st.Recycled
		}
	}
	return lived, err
}

// Steps returns the names of all that lives do that nobody kills.
func Steps() (names []string) {
	for _, s := range steps {
		if s.weight > 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// BusySteps returns the names of what busy lives do besides that.
func BusySteps() (names []string) {
	for _, s := range busySteps {
		names = append(names, s.name)
	}
	return names
}

// Pairs returns the names of the pairs of calls that lives of pairs make.
var Pairs = pairs

// Bits returns what lives count when a call has failed by a shortage, each of them.
func Bits() (names []string) {
	for i := range shortages {
		names = append(names, shortages[i].bit())
	}
	return names
}

// NewKnown returns knowledge of a log with records up to last, of that run.
func NewKnown(first, last wal.LSN, tag uint64) Mark {
	return Mark{front: first, begun: last, appended: last, durable: last, runs: []run{{from: 1, tag: tag, size: sizeByTag}}}
}

// The setters of what is known, by name.
var Known = map[string]func(m *Mark, v ...wal.LSN){
	"first":    func(m *Mark, v ...wal.LSN) { m.front = v[0] },
	"begun":    func(m *Mark, v ...wal.LSN) { m.begun = v[0] },
	"appended": func(m *Mark, v ...wal.LSN) { m.appended = v[0] },
	"durable":  func(m *Mark, v ...wal.LSN) { m.durable = v[0] },
	"batch":    func(m *Mark, v ...wal.LSN) { m.batches = append(m.batches, batch{v[0], v[1]}) },
	"cut front": func(m *Mark, v ...wal.LSN) {
		alt := *m
		alt.front, m.alt = v[0], &alt
	},
	"cut back": func(m *Mark, v ...wal.LSN) {
		alt := *m
		alt.end(v[0])
		m.alt = &alt
	},
	"reset": func(m *Mark, v ...wal.LSN) {
		alt := emptyMark(v[0])
		m.alt = &alt
	},
	"other":    func(m *Mark, v ...wal.LSN) { m.runs = append(m.runs, run{from: v[0], tag: 99, size: sizeByTag}) },
	"nobody's": func(m *Mark, v ...wal.LSN) { m.runs[0].from = v[0] },
	"many":     func(m *Mark, _ ...wal.LSN) { m.runs[0].many = true },
	"next many": func(m *Mark, v ...wal.LSN) {
		m.runs = append(m.runs, run{from: v[0], tag: 99, size: sizeByTag, many: true})
	},
	"writer": func(m *Mark, v ...wal.LSN) { m.writers = append(m.writers, writer{uint64(v[0]), uint64(v[1])}) },
}

// Record returns a record of one writer.
func Record(tag uint64, lsn wal.LSN) []byte {
	r := run{tag: tag, size: sizeByTag}
	return r.record(uint64(lsn))
}

// RecordOf returns a record of one of several writers.
func RecordOf(tag uint64, writer int, n uint64) []byte {
	r := run{tag: tag, size: sizeByTag, many: true}
	return r.record(number(writer, n))
}

// ErrorOf returns what a life makes of an error of the log.
var ErrorOf = broken

// CheckLog checks a log below a directory, after a kill, by what
// comes from another process.
func CheckLog(dir string, m Mark) (*campaign.Broken, error) {
	s := &Log{}
	data, err := s.AppendKnown(nil, &m)
	if err != nil {
		return nil, err
	}
	known, err := s.ParseKnown(data)
	if err != nil {
		return nil, err
	}
	f, err := s.Inspect(dir)
	if err != nil {
		return nil, err
	}
	return campaign.Check(f, known, true), nil
}

// Find returns the built-in subject of a name, or nil.
func Find(name string) campaign.Subject {
	for _, s := range Subjects() {
		if s.Name() == name {
			return s
		}
	}
	return nil
}
