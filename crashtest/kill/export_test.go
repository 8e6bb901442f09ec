//go:build linux

package kill

import (
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// The seams for the tests of package kill_test.

// Quote makes a word of the shell of a path.
var Quote = quote

// Flawed are logs that are wrong in one way each, by name.
func Flawed() map[string]campaign.Subject {
	list := make(map[string]campaign.Subject)
	for _, s := range []*logSubject{
		{name: "buffering", wrap: func(to appender) appender { return &buffering{to: to} }},
		{name: "halving", wrap: func(to appender) appender { return halving{to} }},
		{name: "misjudging", judge: func(k *logKnown, f *logFound) *campaign.Broken {
			if f.last() > k.durable {
				return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: "a record that was not synced is there"}
			}
			return nil
		}},
	} {
		list[s.name] = s
	}
	return list
}

// buffering keeps records in the process's memory, and says that they are
// appended.
type buffering struct {
	to   appender
	mu   sync.Mutex
	kept [][]byte
	last wal.LSN
}

// Append implements appender.
func (b *buffering) Append(p []byte) (wal.LSN, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == 0 {
		lsn, err := b.to.Append(p)
		b.last = lsn
		return lsn, err
	}
	b.kept = append(b.kept, p)
	b.last++
	var err error
	if len(b.kept) == 5 {
		err = b.flush()
	}
	return b.last, err
}

// flush appends what was kept.
func (b *buffering) flush() error {
	for _, p := range b.kept {
		if _, err := b.to.Append(p); err != nil {
			return err
		}
	}
	b.kept = nil
	return nil
}

// AppendBatch implements appender.
func (b *buffering) AppendBatch(ps [][]byte) (wal.LSN, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.flush()
	if err == nil {
		b.last, err = b.to.AppendBatch(ps)
	}
	return b.last, err
}

// halving appends a batch record by record.
type halving struct{ appender }

// AppendBatch implements appender.
func (h halving) AppendBatch(ps [][]byte) (lsn wal.LSN, err error) {
	for _, p := range ps {
		if lsn, err = h.Append(p); err != nil {
			return 0, err
		}
	}
	return lsn, nil
}

// LogKnown and its parts are what is known of a log.
type (
	LogKnown = logKnown
	Span     = span
	Writer   = writer
)

// NewKnown returns knowledge of a log with records up to last, of that span.
func NewKnown(first, last wal.LSN, tag uint64) LogKnown {
	return logKnown{first: first, begun: last, appended: last, durable: last, spans: []span{{from: 1, tag: tag}}}
}

// The setters of what is known, by name.
var Known = map[string]func(k *LogKnown, v ...wal.LSN){
	"first":       func(k *LogKnown, v ...wal.LSN) { k.first = v[0] },
	"begun":       func(k *LogKnown, v ...wal.LSN) { k.begun = v[0] },
	"appended":    func(k *LogKnown, v ...wal.LSN) { k.appended = v[0] },
	"durable":     func(k *LogKnown, v ...wal.LSN) { k.durable = v[0] },
	"batch":       func(k *LogKnown, v ...wal.LSN) { k.batchFrom, k.batchTo = v[0], v[1] },
	"cut front":   func(k *LogKnown, v ...wal.LSN) { k.cut, k.cutTo = cutFront, v[0] },
	"cut back":    func(k *LogKnown, v ...wal.LSN) { k.cut, k.cutTo = cutBack, v[0] },
	"reset":       func(k *LogKnown, v ...wal.LSN) { k.cut, k.cutTo = cutReset, v[0] },
	"other":       func(k *LogKnown, v ...wal.LSN) { k.spans = append(k.spans, span{from: v[0], tag: 99}) },
	"nobody's":    func(k *LogKnown, v ...wal.LSN) { k.spans[0].from = v[0] },
	"many":        func(k *LogKnown, _ ...wal.LSN) { k.spans[0].many = true },
	"one writer":  func(k *LogKnown, v ...wal.LSN) { k.writers = []writer{{uint64(v[0]), uint64(v[1])}} },
	"two writers": func(k *LogKnown, v ...wal.LSN) { k.writers = append(k.writers, writer{uint64(v[0]), uint64(v[1])}) },
}

// Record returns a record of one writer.
func Record(tag uint64, lsn wal.LSN) []byte { return span{tag: tag}.record(uint64(lsn)) }

// RecordOf returns a record of one of several writers.
func RecordOf(tag uint64, writer int, n uint64) []byte {
	return span{tag: tag, many: true}.record(number(writer, n))
}

// JudgeLog looks at a log and judges it.
func JudgeLog(dir string, k LogKnown) (*campaign.Broken, error) {
	s := &logSubject{name: logName}
	data, err := s.AppendKnown(nil, &k)
	if err != nil {
		return nil, err
	}
	known, err := s.ParseKnown(data) // as it comes from a child
	if err != nil {
		return nil, err
	}
	f, err := s.look(dir)
	if err != nil {
		return nil, err
	}
	return campaign.Judge(f, known, true), nil
}
