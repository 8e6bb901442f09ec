package wal_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/wal"
)

// closingContext closes a log when it is asked for its error, which Commit does
// behind its look at what is durable.
type closingContext struct {
	context.Context
	log *wal.Log
	err error
}

// Err implements context.Context.
func (c *closingContext) Err() error {
	if c.log != nil {
		l := c.log
		c.log = nil
		c.err = l.Close()
	}
	return nil
}

// TestCloseWithinACommit closes the log between a commit's look at what is durable
// and its sync: Close made the record durable, so it was not refused. An appender
// that synced each record and got ErrClosed would append it once more elsewhere.
func TestCloseWithinACommit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), logName)
	l := openLog(t, dir, small())
	lsn, err := l.Append([]byte("one"))
	must(t, err)
	c := &closingContext{Context: t.Context(), log: l}
	if err = l.Commit(c, lsn); err != nil || c.err != nil {
		t.Errorf("commit: %v, close: %v", err, c.err)
	}
	if l.DurableLSN() != lsn {
		t.Errorf("durable is %d", l.DurableLSN())
	}
}
