//go:build linux

package seawall

import (
	"path"
	"strings"
	"sync"

	"github.com/seawall-wal/seawall/crashtest/internal/goroutine"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// watch is the tracer of a busy life. It has appends come between the syncs of one
// of the log's calls, and names come late.
type watch struct {
	to durability.Tracer

	mu      sync.Mutex
	caller  string // the goroutine whose syncs are counted; empty for none
	left    int    // of their beginnings and ends, until the appends
	any     bool   // its other operations are counted, too
	appends func() // called by caller, which holds no lock that an append needs

	late    durability.Op // no segment in preparation comes further than before this
	gate    chan struct{} // is closed when it may; nil where there is none
	atGate  func()        // is called when one has come so far
	unnamed int           // segments that have a temporary name
	named   func()        // called when there is none any more; nil for nobody

	tail string // the segment that was last stored into, without its ending
	end  int64  // of that store
}

// Trace implements durability.Tracer. What it calls comes behind the event.
func (t *watch) Trace(e durability.Event) {
	t.to.Trace(e)
	t.mu.Lock()
	call, gate := t.see(&e)
	t.mu.Unlock()
	if call != nil {
		call()
	}
	if gate != nil {
		<-gate
	}
}

// see returns what is to be done about an event, and what to wait for. The caller
// holds mu.
func (t *watch) see(e *durability.Event) (call func(), gate chan struct{}) {
	sync := false
	switch e.Op {
	case durability.OpStore:
		if e.Offset >= frame.DataOffset {
			t.tail, t.end = ordinal(e.Name), e.Offset+max(e.Length, int64(len(e.Data)+len(e.Data2)))
		}
	case durability.OpCreate, durability.OpRename, durability.OpRemove:
		if e.Phase == durability.After && e.Err == nil && t.count(e) {
			call = t.named
		}
	case durability.OpMsync, durability.OpSync, durability.OpSyncDir:
		sync = true
	}
	if t.caller != "" && (sync || t.any) && t.caller == goroutine.Number() {
		if t.left--; t.left == 0 {
			call = t.appends
		}
	}
	if e.Op == t.late && e.Phase == durability.Before && temporary(e.Name) && !temporary(e.NewName) {
		if gate = t.gate; gate != nil {
			t.atGate()
		}
	}
	return call, gate
}

// count counts temporary names, and reports whether the last one is gone by that.
func (t *watch) count(e *durability.Event) bool {
	before := t.unnamed
	if temporary(e.Name) {
		if e.Op == durability.OpCreate {
			t.unnamed++
		} else {
			t.unnamed = max(0, t.unnamed-1) // an earlier process may have begun it
		}
	}
	if temporary(e.NewName) {
		t.unnamed++
	}
	return before > 0 && t.unnamed == 0
}

// LabRandom hands on what the tracer of a life does for the log.
func (t *watch) LabRandom(b []byte) bool {
	r, ok := t.to.(interface{ LabRandom(b []byte) bool })
	return ok && r.LabRandom(b)
}

// arm has the calling goroutine call appends at the nth beginning or end of a sync
// from now on.
func (t *watch) arm(nth int, appends func()) { t.armFor(nth, false, appends) }

// armAny is arm for all operations. What it calls may come while the caller holds locks that
// appends need.
func (t *watch) armAny(nth int, call func()) { t.armFor(nth, true, call) }

func (t *watch) armFor(nth int, all bool, call func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.caller, t.left, t.any, t.appends = goroutine.Number(), nth, all, call
}

// disarm ends what arm began.
func (t *watch) disarm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.caller, t.appends = "", nil
}

// shut lets no segment in preparation come further than before that operation. It returns what
// is closed when one has come so far, and what ends that.
func (t *watch) shut(before durability.Op) (there <-chan struct{}, open func()) {
	gate, come := make(chan struct{}), make(chan struct{})
	t.mu.Lock()
	t.late, t.gate, t.atGate = before, gate, sync.OnceFunc(func() { close(come) })
	t.mu.Unlock()
	return come, sync.OnceFunc(func() {
		t.mu.Lock()
		t.late, t.gate = 0, nil
		t.mu.Unlock()
		close(gate)
	})
}

// onNamed has fn called as soon as no segment has a temporary name; at once, where
// none has. A nil fn ends that.
func (t *watch) onNamed(fn func()) {
	t.mu.Lock()
	t.named = fn
	none := t.unnamed == 0
	t.mu.Unlock()
	if none && fn != nil {
		fn()
	}
}

// spaceLeft returns how many bytes at least there are behind the log's end in its newest
// segment.
func (t *watch) spaceLeft(segmentBytes int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tail == "" {
		return 0
	}
	return segmentBytes - t.end
}

// temporary reports whether a segment is still being prepared under that name.
func temporary(name string) bool { return strings.HasSuffix(name, ".tmp") }

// ordinal returns a segment's name without its ending.
func ordinal(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }
