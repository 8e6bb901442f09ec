// Package durabilitytest is for the tests of whatever stands on package
// durability: a Recorder turns the trace of its operations into the states that
// a power loss or a process death could have left at any moment.
//
// # The states
//
// The rule for a power loss after the first n events of a trace, which
// Recorder.Crash follows:
//
//  1. Each 512-byte sector of a file, by itself, holds what it held at one
//     moment since the start (Before event) of the last sync that covers it, an
//     OpMsync of its range or an OpDatasync or OpSync of the file, that
//     succeeded (After event without Err, among the n events). A sector that was
//     never written is zeros.
//  2. The last event, if it is a store, is in flight: of the sector's contents,
//     the newest may have any subset of the aligned 8-byte words of the store.
//     The same is true of every write that has a Before event only.
//  3. The size of a file is what it was at one moment since the start of the
//     last successful sync of the file, whatever its range. While a file grows,
//     there are moments at every page (4096 bytes) on the way.
//  4. What a truncation took away does not come back once its size is durable.
//  5. Of the operations on a directory that no successful OpSyncDir covers
//     (their After event came before its Before event), each may be missing by
//     itself, with every later one on one of its names. A rename is one
//     operation, there or missing as a whole. One that has a Before event only
//     may be there too.
//  6. The name of a file and its content know nothing of each other: a file
//     whose name is durable may be empty, and an OpSync of a file keeps no name.
//
// A process death leaves everything that was stored and done.
package durabilitytest

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"

	"github.com/seawall-wal/seawall/durability"
)

// errStarted is returned by Base and BaseFiles when events are recorded already:
// what the files were before them is no longer known.
var errStarted = errors.New("durabilitytest: the recorder has recorded events: set the base before the first one")

// Recorder is a durability.Tracer that keeps every event, and replays them. All
// methods may be called at once from several goroutines.
//
// A trace is told from the first event on: a file that was there before must be
// known from Base, or the events on it are left out.
type Recorder struct {
	mu     sync.RWMutex
	events []record
	index  index // of a prefix of events
}

// record is one event, with its data copied into one piece.
type record struct {
	durability.Event
	data []byte
}

// NewRecorder returns a Recorder without events.
func NewRecorder() *Recorder {
	return &Recorder{index: newIndex()}
}

// LoseOnFailedSync makes the model of the kernel stricter than rule 1: a sync
// that fails marks the pages that it covered as clean, although the device
// never got them, and a later sync succeeds without making them durable, until
// something is stored or written into the page again. That is what Linux does
// on ext4 and xfs (Rebello et al., "Can Applications Recover from fsync
// Failures?", USENIX ATC 2020), and what a retry after a failed sync falls for.
// To be called before the first event.
func (r *Recorder) LoseOnFailedSync() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index.gate = true
}

// Trace implements durability.Tracer. It copies the event and no more: the
// replay is built when it is asked for.
func (r *Recorder) Trace(e durability.Event) {
	kept := record{Event: e}
	if n := len(e.Data) + len(e.Data2); n > 0 {
		kept.data = append(append(make([]byte, 0, n), e.Data...), e.Data2...)
	}
	if e.Data != nil {
		kept.Data = kept.data[:len(e.Data):len(e.Data)]
	}
	if e.Data2 != nil {
		kept.Data2 = kept.data[len(e.Data):]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, kept)
}

// Len returns the number of events recorded so far.
func (r *Recorder) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.events)
}

// Events returns a copy of the events recorded so far, with copies of their
// data.
func (r *Recorder) Events() []durability.Event {
	r.mu.RLock()
	defer r.mu.RUnlock()
	events := make([]durability.Event, len(r.events))
	for i, kept := range r.events {
		events[i] = kept.Event
		events[i].Data = slices.Clone(kept.Data)
		events[i].Data2 = slices.Clone(kept.Data2)
	}
	return events
}

// Base takes what is in the directory dir now, and below it, as durable. It
// returns an error when events are recorded already: call it before the first
// operation that is traced.
func (r *Recorder) Base(dir string) error {
	files, err := ReadFiles(dir)
	if err != nil {
		return err
	}
	return r.BaseFiles(dir, files)
}

// BaseFiles takes the files as what is durable in the directory dir, without
// reading it. It returns an error when events are recorded already.
func (r *Recorder) BaseFiles(dir string, files Files) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) > 0 {
		return fmt.Errorf("base %s: %w", dir, errStarted)
	}
	r.index.base(absolute(dir), files)
	return nil
}

// Final returns the files of the directory dir, and below it, as the whole
// trace leaves them without a crash. They equal the real directory byte for
// byte, or an operation was not traced.
func (r *Recorder) Final(dir string) Files {
	return r.Killed(dir, r.Len(), math.MaxInt)
}

// view takes the read lock with at least the first at events indexed, and
// returns its release. It panics where the trace has no such position.
func (r *Recorder) view(at int) (release func()) {
	r.mu.RLock()
	if at < 0 || at > len(r.events) {
		n := len(r.events)
		r.mu.RUnlock()
		panic(fmt.Sprintf("durabilitytest: position %d is outside the trace of %d events", at, n))
	}
	if len(r.index.steps) >= at {
		return r.mu.RUnlock
	}
	r.mu.RUnlock()

	r.mu.Lock()
	for len(r.index.steps) < len(r.events) {
		r.index.add(r.events)
	}
	r.mu.Unlock()
	r.mu.RLock()
	return r.mu.RUnlock
}

// absolute returns the one name under which a directory is known.
func absolute(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		// The working directory is gone: the name as it is has to do.
		return filepath.Clean(dir)
	}
	return abs
}
