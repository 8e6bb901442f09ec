//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// splitter cuts a stream of bytes into records. It hands a record on as soon
// as its end has been read, and keeps no more than one unfinished record, of
// no more than the limit. A record that it hands on is valid during the call.
type splitter interface {
	// feed takes the next bytes.
	feed(p []byte, emit func([]byte) error) error
	// end says that there are no more.
	end(emit func([]byte) error) error
	// unfinished returns how many bytes have been read of a record whose end
	// was not.
	unfinished() int64
}

// The formats of a stream of records, for append and dump.
const (
	splitLines = "lines"
	splitNUL   = "nul"
	splitLen32 = "len32"
)

// splitNames are the formats by name.
var splitNames = []string{splitLines, splitNUL, splitLen32}

// newSplitter returns a splitter for records of up to limit bytes.
func newSplitter(name string, limit int64) (splitter, error) {
	switch name {
	case splitLines:
		return &delimited{delim: '\n', unit: "line", part: part{limit: limit}}, nil
	case splitNUL:
		return &delimited{delim: 0, unit: "record", part: part{limit: limit}}, nil
	case splitLen32:
		return &prefixed{part: part{limit: limit}}, nil
	}
	return nil, usage("--split %s: it is lines, nul or len32", name)
}

// tooLargeError reports a record that is larger than the log takes.
type tooLargeError struct {
	what  string
	size  int64 // in bytes
	limit int64 // in bytes
}

// Error implements error.
func (e *tooLargeError) Error() string {
	return fmt.Sprintf("%s has %s bytes, the limit is %s; nothing of it was appended; a larger --segment-size raises the limit",
		e.what, count(e.size), count(e.limit))
}

// part is the beginning of a record whose end was not read yet.
type part struct {
	bytes []byte
	size  int64 // of all that was read, kept or not
	limit int64
}

// add keeps p, unless the record is beyond the limit: then it is only counted.
func (r *part) add(p []byte) {
	r.size += int64(len(p))
	if r.size > r.limit {
		r.bytes = nil
		return
	}
	r.bytes = append(r.bytes, p...)
}

// reset begins the next record.
func (r *part) reset() { r.bytes, r.size = r.bytes[:0], 0 }

// delimited splits at a byte that ends each record and is no part of it. The
// last record may lack it.
type delimited struct {
	delim byte
	unit  string // what a record is called
	n     int64  // records ended
	part  part
}

func (d *delimited) feed(p []byte, emit func([]byte) error) error {
	for {
		i := bytes.IndexByte(p, d.delim)
		if i < 0 {
			break
		}
		if err := d.ended(p[:i], emit); err != nil {
			return err
		}
		p = p[i+1:]
	}
	if len(p) > 0 {
		d.part.add(p)
	}
	return nil
}

// ended hands on the record that ends with p.
func (d *delimited) ended(p []byte, emit func([]byte) error) error {
	d.n++
	if d.part.size > 0 || int64(len(p)) > d.part.limit {
		d.part.add(p)
		if d.part.size > d.part.limit {
			return &tooLargeError{fmt.Sprintf("%s %d", d.unit, d.n), d.part.size, d.part.limit}
		}
		p = d.part.bytes
	}
	err := emit(p)
	d.part.reset()
	return err
}

func (d *delimited) end(emit func([]byte) error) error {
	if d.part.size == 0 {
		return nil
	}
	return d.ended(nil, emit)
}

func (d *delimited) unfinished() int64 { return d.part.size }

// prefixBytes is the size of the length in front of a record.
const prefixBytes = 4

// prefixed splits a stream in which each record follows its length, a
// big-endian number of 32 bits.
type prefixed struct {
	n      int64 // records ended
	offset int64 // where the record that is being read begins
	head   [prefixBytes]byte
	headed int   // bytes of head that were read
	length int64 // from head, once it is whole
	part   part
}

func (f *prefixed) feed(p []byte, emit func([]byte) error) error {
	for {
		if f.headed < prefixBytes {
			n := copy(f.head[f.headed:], p)
			f.headed, p = f.headed+n, p[n:]
			if f.headed < prefixBytes {
				return nil
			}
			f.length = int64(binary.BigEndian.Uint32(f.head[:]))
			if f.length > f.part.limit {
				return &tooLargeError{
					fmt.Sprintf("record %d, at offset %d of the input,", f.n+1, f.offset),
					f.length, f.part.limit,
				}
			}
		}
		want := f.length - f.part.size
		if int64(len(p)) < want {
			f.part.add(p)
			return nil
		}
		rec := p[:want]
		p = p[want:]
		if f.part.size > 0 {
			f.part.add(rec)
			rec = f.part.bytes
		}
		if err := f.ended(rec, emit); err != nil {
			return err
		}
	}
}

// ended hands on a record and begins the next.
func (f *prefixed) ended(rec []byte, emit func([]byte) error) error {
	f.n++
	f.offset += prefixBytes + f.length
	f.headed, f.length = 0, 0
	err := emit(rec)
	f.part.reset()
	return err
}

func (f *prefixed) end(func([]byte) error) error {
	switch {
	case f.headed == 0:
		return nil
	case f.headed < prefixBytes:
		return fmt.Errorf("the input ends within record %d, at offset %d of the input: %d of the 4 bytes of its length are there",
			f.n+1, f.offset, f.headed)
	}
	return fmt.Errorf("the input ends within record %d, at offset %d of the input: %s of its %s bytes are there",
		f.n+1, f.offset, count(f.part.size), count(f.length))
}

func (f *prefixed) unfinished() int64 { return int64(f.headed) + f.part.size }

// whole makes one record of the whole stream.
type whole struct {
	name string
	part part
}

func (w *whole) feed(p []byte, _ func([]byte) error) error {
	w.part.add(p)
	return nil
}

func (w *whole) end(emit func([]byte) error) error {
	if w.part.size > w.part.limit {
		return &tooLargeError{w.name, w.part.size, w.part.limit}
	}
	return emit(w.part.bytes)
}

func (w *whole) unfinished() int64 { return w.part.size }
