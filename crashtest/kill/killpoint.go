//go:build linux

package kill

import (
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

// Stage is what a life's Tracer is, too: a workload may say where it is, so that
// kills can be aimed at, and counted by, its places.
type Stage interface {
	durability.Tracer

	// Enter says that the workload enters a place, and returns the function that
	// says it has left it.
	Enter(p Place) (leave func())

	// Aim returns the place at which this life is to end, or nothing: the workload
	// had better get there.
	Aim() Place
}

// Placer is a subject that can tell the place of an operation, given where the
// workload has said it is. Without, stores belong to Copy, syncs to Sync, and all
// others to Rotation, and no life is aimed at Cut or Recovery.
type Placer interface {
	PlaceOf(doing Place, e *durability.Event) Place
}

// What a process tells the lab through its pipe, one byte each.
const (
	toldAtWork = 'w' // a life has its first record
	toldHalt   = 'h' // a thread waits at its aim
	toldDone   = 'd' // a workload has ended, or failed
)

// stage is the child's side of a life.
type stage struct {
	b       *board
	aim     *Aim
	placeOf func(doing Place, e *durability.Event) Place
	seen    atomic.Int64
}

// Enter implements Stage.
func (s *stage) Enter(p Place) func() {
	before := s.b.at(wordPlace).Swap(p.index())
	return func() { s.b.at(wordPlace).Store(before) }
}

// Aim implements Stage.
func (s *stage) Aim() Place {
	if s.aim == nil {
		return ""
	}
	return s.aim.Place
}

// Trace implements durability.Tracer: it ends the process at its aim.
func (s *stage) Trace(e durability.Event) {
	a := s.aim
	if a == nil || a.Op != 0 && e.Op != a.Op || e.Phase != a.Phase {
		return
	}
	if s.placeOf(placeAt(s.b.at(wordPlace).Load()), &e) != a.Place || s.seen.Add(1) != int64(a.N) {
		return
	}
	s.b.at(wordPlace).Store(a.Place.index())
	s.b.at(wordHit).Store(1)
	if a.Place == Copy {
		s.halt(&e)
		return
	}
	die()
}

// die kills the process: it does not return.
func die() {
	for {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
}

// halt waits for the lab to attach to this thread, which then goes on instruction
// by instruction, and not beyond the copy. It must not enter the scheduler any
// more: the thread would be another one.
func (s *stage) halt(e *durability.Event) {
	runtime.LockOSThread()
	s.b.setText(filepath.Join(e.Dir, e.Name))
	s.b.at(wordStore).Store(uint64(e.Offset))
	s.b.at(wordBytes).Store(uint64(e.Length))
	s.b.at(wordHalt).Store(uint64(unix.Gettid()))
	told := [1]byte{toldHalt}
	// A lab that is gone has killed us. After a blocking system call the runtime
	// might have to schedule this thread again, which takes thousands of steps.
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, childPipe, uintptr(unsafe.Pointer(&told[0])), 1)
	for s.b.at(wordGo).Load() == 0 {
		_, _, _ = syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

// placeByOp is the place of an operation of a subject that does not say.
func placeByOp(doing Place, e *durability.Event) Place {
	switch {
	case doing == Cut || doing == Recovery:
		return doing
	case e.Op == durability.OpStore:
		return Copy
	case e.Op == durability.OpMsync || e.Op == durability.OpDatasync || e.Op == durability.OpSync:
		return Sync
	}
	return Rotation
}
