package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/wal/internal/segment"
)

// Reader reads records in the order of their LSNs. It is not safe for
// concurrent use; any number of them may read at once, and while others append.
//
// A Reader of a Log reads in the writer's process, one of a LogReader in another
// process than the writer's. Both return what was appended under an LSN, or an
// error, and never other bytes: where the record that is next was truncated
// away, or the one that was returned last, they end with ErrTruncated. A new
// Reader begins where the caller wants to go on.
type Reader struct {
	src     source
	cur     cursor
	next    LSN    // the record that Next is to read; 0 is the log's first
	last    LSN    // the record that was returned last, or 0
	whole   bool   // it begins with the log's first record
	epoch   uint64 // the log's, when cur was last known to stand in the log
	durable bool   // only records that are durable
	lent    bool   // records are handed out where they lie (ZeroCopy)
	rec     []byte // the record that was read last
	buf     []byte // what it was copied into, where it was copied
	err     error
	ended   bool // err is a context's: the next call goes on
	done    bool

	pinned view // the mapping that the record lies in
	held   LSN  // the record that is held there, or 0; pins.mu guards it

	outside outsidePlace // of a LogReader's Reader
}

// source is where a Reader's records come from.
type source interface {
	// fetch reads the record that is next, and reports whether there is one. The
	// context ends a wait for a writer that is changing the log at the very place.
	fetch(ctx context.Context, r *Reader) (bool, error)
	// await returns when there may be a record, or an error, for a reader that found
	// none.
	await(ctx context.Context, r *Reader) error
	// drop releases the record that the reader holds.
	drop(r *Reader)
	// leave releases all that the reader holds. The reader is not used any more.
	leave(r *Reader)
}

// Reader returns a reader whose first record is the one with that LSN, or the
// log's first one for 0.
func (l *Log) Reader(from LSN) *Reader {
	return &Reader{src: l, next: from, whole: from == 0, cur: cursor{Cursor: segment.Cursor{Window: segment.PopulateBytes}}}
}

// Durable makes the reader return only records that power loss cannot take, and
// returns it. Call it before the first Next.
func (r *Reader) Durable() *Reader {
	r.durable = true
	return r
}

// ZeroCopy makes the reader hand out records where they lie, in the mapping of
// their segment, in place of copies, and returns it. Call it before the first
// Next. It is for readers in the writer's process: those of a LogReader copy
// all the same, since nothing keeps another process from using a segment again.
//
// Record's bytes are valid until the next call of Next, Follow or Close, also
// when the log is closed or the record truncated before that. They must not be
// stored to. Touch them inside durability.Guard: a load may fault, where the
// file was truncated or the disk cannot be read, and Guard makes that an error:
//
//	err := durability.Guard(func() error {
//		return use(r.Record())
//	})
//
// TruncateBack and Reset wait until no Reader holds a record that they remove: a
// goroutine that holds one itself must not call them, since they would never return.
// While they wait, the holder of a record may append and sync, and further records
// that they are to remove are handed out as copies. Close readers that are not used
// any more.
func (r *Reader) ZeroCopy() *Reader {
	if l, ok := r.src.(*Log); ok && !r.lent {
		r.lent = true
		l.store.pins.register(r)
	}
	return r
}

// Next reads the next record and reports whether there is one. Without an
// error, false says that the log's end is reached: Next may be called again
// after more was appended. Records are readable from their append on, on a
// poisoned log as far as they are durable.
func (r *Reader) Next() bool {
	if !r.begin() {
		return false
	}
	return r.advance(context.Background())
}

// Follow is Next that waits until there is a record. When ctx ends first, it
// returns false, Err is ctx's error, and a later Next or Follow goes on. In the
// writer's process nothing is polled: an append wakes those who follow, a sync
// those who follow what is durable. It ends with ErrClosed when the log is
// closed, and with ErrPoisoned where no further record can come.
func (r *Reader) Follow(ctx context.Context) bool {
	if !r.begin() {
		return false
	}
	for {
		err := ctx.Err()
		if err == nil {
			if r.advance(ctx) {
				return true
			}
			if r.err != nil {
				return false
			}
			err = r.src.await(ctx, r)
		}
		if err != nil {
			r.fail(ctx, err)
			return false
		}
	}
}

// begin releases the last record and reports whether the reader may go on.
func (r *Reader) begin() bool {
	if r.done {
		return false
	}
	if r.ended {
		r.err, r.ended = nil, false
	}
	if r.err != nil {
		return false
	}
	r.rec = nil
	r.src.drop(r)
	return true
}

// advance reads the next record, if there is one. next is 0 behind the last possible
// LSN, where the number has wrapped; at the beginning it is 0 too, but last is then.
func (r *Reader) advance(ctx context.Context) bool {
	if r.next == 0 && r.last != 0 {
		return false // nothing is behind the last number
	}
	ok, err := r.src.fetch(ctx, r)
	if !ok {
		r.unpin()
		if err != nil {
			r.fail(ctx, err)
		}
		return false
	}
	r.last = r.next
	r.next++
	return true
}

// within reports whether the record that is next is one of those that may be read,
// first to last. A next of 0 becomes first. A reader that found none there, and was to
// begin with the first, goes back with a reset: the records below would be skipped. It
// does not go ahead with a cut: there were records that it has not seen.
func (r *Reader) within(first, last LSN) (bool, error) {
	if r.next == 0 || r.whole && r.last == 0 && r.next > first {
		r.next = first
	}
	if r.next < first {
		return false, truncated(r.next, first)
	}
	return r.next <= last, nil
}

// fail notes why there is no record. An error that is the context's is not final: the
// next call of Next or Follow goes on.
func (r *Reader) fail(ctx context.Context, err error) {
	r.err, r.ended = err, ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// LSN returns the LSN of the record that Next read.
func (r *Reader) LSN() LSN { return r.last }

// Record returns the record that Next read. The next call of Next, Follow or
// Close makes its bytes invalid.
func (r *Reader) Record() []byte { return r.rec }

// Err returns the error that ended the reading, or nil: ErrTruncated where the
// record that is next is below the log's first one, or the last one was cut
// away, *CorruptError where it is damaged, *durability.FaultError where its file
// was truncated, ErrClosed, and what Follow says.
func (r *Reader) Err() error { return r.err }

// Close ends the reading. It returns Err, but for the end of a context. It may be called
// again, and also after the log was closed.
func (r *Reader) Close() error {
	if !r.done {
		r.done, r.rec, r.buf = true, nil, nil
		r.src.drop(r)
		r.unpin()
		r.src.leave(r)
	}
	if r.ended {
		return nil
	}
	return r.err
}

// truncated is the error for a record that is before the log's first one.
func truncated(lsn, front LSN) error {
	return fmt.Errorf("%w: LSN %d, the first is %d", ErrTruncated, lsn, front)
}

// cutAway is the error for a reader whose last record is not the log's any more.
func cutAway(last LSN) error {
	return fmt.Errorf("%w: LSN %d was read, and then cut away", ErrTruncated, last)
}

// notThere is the error for a record that was not appended yet.
func notThere(lsn, last LSN) error {
	return fmt.Errorf("%w: LSN %d, the last is %d", ErrNotFound, lsn, last)
}
