//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// batchOverhead is what a record costs in a batch besides its bytes, at most.
const batchOverhead = 32

// feeder appends what an input brings to a log, record by record or in batches.
//
// A batch is up to so many records. It is appended earlier when no more input
// is there to be read, and when its next record would not fit into a segment:
// input that pauses leaves nothing but an unfinished record with us.
type feeder struct {
	log   *wal.Log
	in    *input
	split splitter
	acks  *acks  // nil where none are asked for
	unit  string // what a record is called
	keep  *keeper
	batch int  // records, at most
	each  bool // a sync for each append

	bytes []byte // of the batch's records
	ends  []int  // in bytes
	list  [][]byte

	done, dead <-chan struct{} // closed at a signal, and when nobody takes the acks

	records, size uint64 // appended: records, and bytes in them
	stopped       bool   // before the input's end

	hurried  bool          // batches are large, since the input was stopped
	patience time.Duration // for what had been read when it was
	deadline time.Time     // of that
	left     uint64        // records that were read, and came behind it
}

// feedPatience is for how long the log may take what had been read before a signal:
// longer where a full disk makes each store wait.
const feedPatience = 3 * time.Second

// run appends until the input ends, and returns nil then, *interruption after
// a signal, *ackError when nobody takes the acks any more, or what failed.
// In any case what was read before is appended, as far as it is whole records
// and the log takes it, within feedPatience where the input was stopped.
func (f *feeder) run(ctx context.Context) error {
	f.done = ctx.Done()
	if f.acks != nil {
		f.dead = f.acks.dead
	}
	f.in.start()
	for {
		var err error
		select {
		case <-f.done:
			err = f.finish(context.Cause(ctx))
		case <-f.dead:
			err = f.finish(f.acks.failure())
		case c := <-f.in.chunks:
			err = f.take(c)
		}
		if errors.Is(err, io.EOF) {
			return f.ended(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// ended returns nil at the input's end, unless it came so long after a signal that
// records were left.
func (f *feeder) ended(ctx context.Context) error {
	switch {
	case f.left == 0:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return f.acks.failure()
}

// finish stops the input and appends what had been read by then. It returns
// cause, or what failed.
func (f *feeder) finish(cause error) error {
	f.stopped = true
	f.in.stop()
	over := make(chan struct{})
	defer time.AfterFunc(stopPatience, func() { close(over) }).Stop()
	for {
		c, ok := f.in.next(over)
		if !ok {
			break
		}
		err := f.take(c)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return besides(err, cause)
		}
	}
	if err := f.flush(); err != nil {
		return besides(err, cause)
	}
	return cause
}

// unfinished returns how many bytes were read of a record whose end was not,
// because the input was stopped.
func (f *feeder) unfinished() int64 {
	if !f.stopped {
		return 0
	}
	return f.split.unfinished()
}

// take appends the records that end in a chunk. It returns io.EOF behind the
// last one.
func (f *feeder) take(c chunk) error {
	if c.err != nil {
		err := c.err
		if errors.Is(err, io.EOF) {
			if serr := f.split.end(f.record); serr != nil {
				err = serr
			}
		}
		if ferr := f.flush(); ferr != nil {
			return ferr
		}
		return err
	}
	if err := f.split.feed(c.data, f.record); err != nil {
		var large *tooLargeError
		if errors.As(err, &large) { // it is not the log's error
			err = errors.Join(f.flush(), err)
		}
		return err
	}
	f.in.free <- c.data
	if c.pause || f.split.unfinished() > f.log.MaxRecordBytes() {
		return f.flush()
	}
	return nil
}

// hurry reports whether the input is to end before its end. A sync a record
// is then too much for what has been read and is still to be appended: it goes
// into large batches.
func (f *feeder) hurry() bool {
	select {
	case <-f.done:
		return true
	default:
	}
	select {
	case <-f.dead:
		return true
	default:
	}
	return false
}

// late reports whether the input was stopped so long ago that nothing more is
// appended.
func (f *feeder) late() bool {
	if !f.hurry() {
		return false
	}
	if f.deadline.IsZero() {
		f.deadline = time.Now().Add(f.patience)
	}
	return time.Now().After(f.deadline)
}

// The size of batches in a hurry, in records and bytes.
const (
	hurriedBatch = 1 << 20
	hurriedBytes = 64 << 10
)

// record appends a record, or adds it to the batch.
func (f *feeder) record(p []byte) error {
	if f.late() {
		f.left++
		return nil
	}
	if f.each && !f.hurried && f.hurry() {
		f.hurried, f.batch = true, max(f.batch, hurriedBatch)
	}
	if f.batch <= 1 {
		_, err := f.log.Append(p)
		return f.count(1, len(p), err)
	}
	if f.batchSize(1, len(p)) > f.log.MaxRecordBytes() {
		if err := f.flush(); err != nil {
			return err
		}
	}
	f.bytes = append(f.bytes, p...)
	f.ends = append(f.ends, len(f.bytes))
	if len(f.ends) >= f.batch || f.hurried && len(f.bytes) >= hurriedBytes {
		return f.flush()
	}
	return nil
}

// batchSize returns what the batch takes in a segment, with n records of so
// many bytes more.
func (f *feeder) batchSize(n, bytes int) int64 {
	return int64(len(f.bytes)+bytes) + int64(len(f.ends)+n)*batchOverhead
}

// flush appends the batch.
func (f *feeder) flush() error {
	n, size := len(f.ends), len(f.bytes)
	if n == 0 {
		return nil
	}
	f.list = f.list[:0]
	begin := 0
	for _, end := range f.ends {
		f.list = append(f.list, f.bytes[begin:end:end])
		begin = end
	}
	f.bytes, f.ends = f.bytes[:0], f.ends[:0]
	if f.late() {
		f.left += uint64(n)
		return nil
	}
	_, err := f.log.AppendBatch(f.list)
	return f.count(n, size, err)
}

// count counts what was appended, or says which records were not.
func (f *feeder) count(n, size int, err error) error {
	first := f.records + 1
	switch {
	case err == nil:
		f.records += uint64(n)
		f.size += uint64(size)
		return f.keep.appended(n, size)
	case n == 1:
		return &inputError{fmt.Sprintf("%s %d of the input", f.unit, first), err}
	}
	return &inputError{fmt.Sprintf("%ss %d to %d of the input", f.unit, first, f.records+uint64(n)), err}
}

// inputError reports which records of the input the log did not take.
type inputError struct {
	which string
	err   error
}

// Error implements error.
func (e *inputError) Error() string {
	return e.which + ": " + strings.TrimPrefix(e.err.Error(), "wal: ")
}

// Unwrap returns the log's error.
func (e *inputError) Unwrap() error { return e.err }
