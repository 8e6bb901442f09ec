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
