//go:build linux

package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Lived lives an exact life below scratch, and returns a checksum of all that was
// traced and noted, and of whose turns they were.
func Lived(s campaign.Subject, seed uint64, scratch string) (sum string, err error) {
	r, err := live(s, seed, scratch, begin{exact: true})
	if err != nil {
		return "", err
	}
	h := newSum()
	for i := range r.events {
		e := &r.events[i]
		_, _ = fmt.Fprintf(h, "%d %d %s %s %d %d %v\n", e.Op, e.Phase, e.Name, e.NewName, e.Offset, e.Length, e.Err != nil)
		_, _ = h.Write(e.Data)
		_, _ = h.Write(e.Data2)
	}
	for _, t := range r.dir.turns {
		_, _ = h.Write(binary.LittleEndian.AppendUint16(nil, t))
	}
	for _, m := range r.marks {
		_, _ = fmt.Fprintf(h, "%d %d %v\n", m.at, m.turn, m.known)
	}
	if r.dir.order.lost {
		err = errors.New("the order of the life was lost")
	}
	return h.text(), errors.Join(err, os.RemoveAll(r.root))
}

// SetDeadlock sets how long each goroutine of a life waits for another one until it is
// given up, and returns what sets it back. No campaign may be in progress.
func SetDeadlock(d time.Duration) (back func()) {
	was := deadlock
	deadlock = d
	return func() { deadlock = was }
}

// ShownBy is shownBy.
var ShownBy = shownBy
