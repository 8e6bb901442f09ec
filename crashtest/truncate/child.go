//go:build linux

package truncate

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// childEnv is the environment variable that makes a process a child of the lab: what it
// is to do, as JSON.
const childEnv = "SEAWALL_TRUNCATE_CHILD"

// childArgs are what a child is to do.
type childArgs struct {
	Role string `json:"role"` // writer, follower or check
	Dir  string `json:"dir"`  // of the log
	Plan *Plan  `json:"plan"`
}

// The roles besides byWriter and byFollower.
const (
	roleCheck = "check"
	roleNone  = "none" // to end at once
)

// exitLab is the exit code of a child that could not do what it was to do, which is no
// fault of the log.
const exitLab = 70

// BeChild must be called first by every program that runs campaigns. In a process that a
// campaign has started as its child it does the child's work and ends the process; in any
// other it does nothing.
func BeChild() {
	text := os.Getenv(childEnv)
	if text == "" {
		return
	}
	exit(beChild(text))
}

func beChild(text string) error {
	var args childArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		return err
	}
	s, err := subjectNamed(args.Plan.Log)
	if err != nil {
		return err
	}
	if s.unguarded {
		if err = dieOfSIGBUS(); err != nil {
			return err
		}
	}
	switch args.Role {
	case byWriter:
		return beWriter(&args, s, os.Stdin)
	case byFollower:
		return beFollower(&args, os.Stdin)
	case roleCheck:
		return beCheck(&args)
	case roleNone:
		return nil
	}
	return fmt.Errorf("truncate: there is no role %q", args.Role)
}

// exit ends a child.
func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	_, _ = fmt.Fprintln(os.Stderr, err) // the lab reads it, if it is still there
	os.Exit(exitLab)
}

// subject is the log, or one that is wrong in a known way.
type subject struct {
	wrong     waltest.Wrong
	unguarded bool // an access to what is not there any more is the process's death
}

// subjects are all of them, by the names that tokens have.
var subjects = map[string]subject{
	"":                {},
	Unguarded:         {unguarded: true},
	FilesUnchecked:    {wrong: waltest.FilesUnchecked},
	PoisonForgotten:   {wrong: waltest.PoisonForgotten},
	Mended(Unguarded): {}, Mended(FilesUnchecked): {}, Mended(PoisonForgotten): {},
}

// The names of logs that are wrong in a known way: see Options.Log.
const (
	// Unguarded is the log in a process that takes no SIGBUS for an error.
	Unguarded = "unguarded"
	// FilesUnchecked is a log that does not look after a sync whether its files are whole.
	FilesUnchecked = "size-unchecked"
	// PoisonForgotten is a log that goes on after a failure.
	PoisonForgotten = "poison-forgotten"
)

// Mended returns the name of the twin of a wrong log.
func Mended(name string) string { return name + ", mended" }

// subjectNamed returns the subject of a name.
func subjectNamed(name string) (subject, error) {
	s, ok := subjects[name]
	if !ok {
		return s, fmt.Errorf("truncate: there is no log %q", name)
	}
	return s, nil
}

// open opens the log of a subject.
func (s subject) open(dir string, o wal.Options) (*wal.Log, error) {
	if s.wrong == 0 {
		return wal.Open(dir, o)
	}
	return waltest.OpenWrong(dir, o, s.wrong)
}

// sigaction is what rt_sigaction(2) is given, without the mask and with nothing that
// any architecture has besides: the default action has no use for it.
type sigaction struct {
	handler uintptr
	rest    [8]uintptr
}

// dieOfSIGBUS gives SIGBUS its default action, whatever the Go runtime wants: so behaves
// a program in C, and one that accesses a mapping outside of durability.Guard.
func dieOfSIGBUS() error {
	var act sigaction // SIG_DFL is 0
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGBUS), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("truncate: rt_sigaction: %w", errno)
	}
	return nil
}

// clock returns nanoseconds of a clock that all processes of a machine share.
func clock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// teller writes what a child has to say to its standard output, a line for each thing:
// a word, and a value as JSON.
func teller() func(word string, v any) {
	var mu sync.Mutex
	return func(word string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // nothing that is told has such values
		}
		mu.Lock()
		defer mu.Unlock()
		// Where nobody listens any more, the lab has ended, and this child with it.
		_, _ = fmt.Fprintf(os.Stdout, "%s\t%s\n", word, text)
	}
}
