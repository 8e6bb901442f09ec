//go:build linux

package campaign

import (
	"fmt"
	"math/rand/v2"

	"github.com/seawall-wal/seawall/durability"
)

// Subject is a write path under test that runs inside the lab's process, and
// does all that matters through package durability.
//
// Its methods are called by several goroutines at once, each with a life or a
// directory of its own.
type Subject interface {
	// Name says which subject it is. The name and a life's seed have to be enough
	// to live the life again.
	Name() string

	// Workload lives one life in l.Dir. What it does depends on the seed of the
	// life, and on what it finds in the directory, alone. It hands l.Tracer to
	// package durability, notes what is known whenever that changes, and leaves
	// nothing open behind. Its error ends the campaign: it is not a finding.
	//
	// In a life that goes on after a crash, l.Known is what was known of the one
	// before; the workload begins with what recovery leaves, and says so by its
	// first Note.
	Workload(l *Life) error

	// Recover does with what a crash left in dir what the program does when it
	// starts, and returns what it then holds. It may write to dir. An error is a
	// finding: a legal state was refused. Return *Broken to name the clause.
	Recover(dir string) (Found, error)
}

// Pure is a Subject whose recovery is a function of bytes: it needs no
// directory, and so is asked many thousand times a second. It must not keep or
// change the files.
type Pure interface {
	Subject

	// RecoverFiles returns what Recover would find.
	RecoverFiles(files map[string][]byte) (Found, error)
}

// Detector is a Subject that has to notice what is no crash: damage, and files that
// are changed under it.
type Detector interface {
	Subject

	// Detect damages what the program keeps in dir, after a Recover that found
	// nothing, and returns an error unless the program notices. Nobody uses dir
	// afterwards. Return *Broken to name the clause.
	Detect(dir string) error
}

// Unordered is a Subject whose lives may not be exact ones (Life.Exact): which of its
// goroutines has a lock first decides what they do. A campaign that has to be the same for
// its seed leaves such subjects out, unless it has no other.
type Unordered interface {
	Subject

	// Unordered reports whether it is such a subject.
	Unordered() bool
}

// Life is one run of a workload.
type Life struct {
	// Dir is the directory that the life is lived in. What a crash leaves is what
	// is left in it and below.
	Dir string

	// Seed chooses the workload; Rand is made from it.
	Seed uint64
	Rand *rand.Rand

	// Tracer is to see every operation of package durability.
	Tracer durability.Tracer

	// Known is what was known when the life began, nil for one that begins in an
	// empty directory. Killed says that it was the process that died, not the
	// machine.
	Known  Known
	Killed bool

	// Note replaces what is known from now on. It is safe for concurrent use; the
	// value must not be changed afterwards.
	Note func(Known)

	// Now returns the newest Note, or Known before the first.
	Now func() Known

	// Exact says that the life has to be the same each time it is lived: no clock
	// and no chance may choose in it, nor what the kernel counts. Which of the
	// workload's goroutines goes on at an operation is up to the campaign then.
	Exact bool

	// Pause, if set, waits in an exact life until each of the goroutines that the
	// workload has started waits, be it for its turn at its next operation. It is
	// for a workload that starts one and does not wait for it.
	Pause func()

	// Settle, if set, waits until the goroutines that the workload has started
	// wait for something themselves. What they decide by what they see of the
	// workload, and not by an operation, cannot be replayed: a workload that lets
	// them finish before it takes something away from them can be.
	Settle func()
}

// Known is what is known about a life at one moment: what was acknowledged, and
// what may be there. It is the subject's own; the lab only keeps it.
type Known any

// Forgetful is a Known that tells what a kill must leave from what a power loss
// must leave. After a power loss it is replaced by what it returns.
type Forgetful interface {
	// Forget returns what is known when only what was synced counts.
	Forget() Known
}

// After returns what is known after a crash.
func After(k Known, killed bool) Known {
	if f, ok := k.(Forgetful); ok && !killed {
		return f.Forget()
	}
	return k
}

// Found is what recovery made of one crash state. Equal states are recovered
// once, so that a Found is checked against many Knowns.
type Found interface {
	// Present returns an error unless all that was acknowledged is there: after
	// the death of the process what needs no sync to survive it, too.
	Present(k Known, killed bool) error

	// Legal returns an error unless what is there may be there.
	Legal(k Known, killed bool) error
}

// Acks is what is known of a program that says no more than what it holds
// durable: a line for each acknowledgement.
type Acks []string

// String tells what was acknowledged.
func (a Acks) String() string {
	if len(a) == 0 {
		return "nothing was acknowledged"
	}
	return fmt.Sprintf("%q was acknowledged, the last of %d", a[len(a)-1], len(a))
}

// Checked makes a Subject of a workload and its checks, for write paths that have
// no more to say. The workload calls ack as soon as it holds something durable. The
// check returns an error unless all that was acknowledged is there; it is asked only
// where something was. What was written and not acknowledged may be there, too. legal
// returns an error where something is there that may not be, whatever was acknowledged;
// nil asks nothing.
func Checked(name string, workload func(l *Life, ack func(token string)) error, check func(dir string, acks []string) error, legal func(dir string) error) Subject {
	return &checked{name: name, workload: workload, check: check, legal: legal}
}

type checked struct {
	name     string
	workload func(*Life, func(string)) error
	check    func(string, []string) error
	legal    func(string) error
}

// Name implements Subject.
func (c *checked) Name() string { return c.name }

// Workload implements Subject.
func (c *checked) Workload(l *Life) error {
	return c.workload(l, func(token string) {
		known, _ := l.Now().(Acks)
		// Never in place: an earlier Note has the same beginning.
		l.Note(append(known[:len(known):len(known)], token))
	})
}

// Recover implements Subject. The check cannot be asked before the
// acknowledgements are known: it is the Found that looks.
func (c *checked) Recover(dir string) (Found, error) { return &checkedFound{c, dir}, nil }

type checkedFound struct {
	*checked
	dir string
}

// Present implements Found.
func (f *checkedFound) Present(k Known, _ bool) error {
	acks, _ := k.(Acks)
	if len(acks) == 0 {
		return nil
	}
	if err := f.check(f.dir, acks); err != nil {
		return &Broken{Kind: Lost, What: fmt.Sprintf("of %d acknowledgements: %v", len(acks), err)}
	}
	return nil
}

// Legal implements Found.
func (f *checkedFound) Legal(Known, bool) error {
	if f.legal == nil {
		return nil
	}
	if err := f.legal(f.dir); err != nil {
		return &Broken{Kind: Illegal, What: err.Error()}
	}
	return nil
}
