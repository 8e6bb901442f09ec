//go:build linux

package kill_test

import (
	"sync"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// Logs that are wrong in one way each, or wrongly reported so.

// misjudging is a log in which no record may be there that was not synced.
type misjudging struct{ *seawall.Log }

// Recover implements campaign.Subject.
func (s misjudging) Recover(dir string) (campaign.Found, error) {
	return s.wrap(s.Log.Recover(dir))
}

// Inspect implements kill.Inspector.
func (s misjudging) Inspect(dir string) (campaign.Found, error) {
	return s.wrap(s.Log.Inspect(dir))
}

func (s misjudging) wrap(f campaign.Found, err error) (campaign.Found, error) {
	if err != nil {
		return nil, err
	}
	return misjudged{f.(*seawall.Held), s.Log}, nil
}

// Settle implements kill.Settler.
func (s misjudging) Settle(k campaign.Known, f campaign.Found) campaign.Known {
	return s.Log.Settle(k, f.(misjudged).Held)
}

// Enough implements kill.Bounded.
func (s misjudging) Enough(f campaign.Found) bool { return s.Log.Enough(f.(misjudged).Held) }

// misjudged is what is there of one.
type misjudged struct {
	*seawall.Held
	log *seawall.Log
}

// Present implements campaign.Found.
func (misjudged) Present(campaign.Known, bool) error { return nil }

// Legal implements campaign.Found.
func (f misjudged) Legal(k campaign.Known, _ bool) error {
	if f.Recovered() > f.log.Counts(k).Acked {
		return &campaign.Broken{Kind: campaign.Illegal, Clause: "C3", What: "a record that was not synced is there"}
	}
	return nil
}

// buffering keeps records in the process's memory, and says that they are
// appended.
type buffering struct {
	to   seawall.Appender
	mu   sync.Mutex
	kept [][]byte
	last wal.LSN
}

// Append implements seawall.Appender.
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

// AppendBatch implements seawall.Appender.
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
type halving struct{ seawall.Appender }

// AppendBatch implements seawall.Appender.
func (h halving) AppendBatch(ps [][]byte) (lsn wal.LSN, err error) {
	for _, p := range ps {
		if lsn, err = h.Append(p); err != nil {
			return 0, err
		}
	}
	return lsn, nil
}
