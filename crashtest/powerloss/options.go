//go:build linux

package powerloss

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// ErrOptions reports options that make no sense.
var ErrOptions = errors.New("powerloss: invalid options")

// Options say whose power is cut, on which filesystem, and for how long. The zero
// value cuts the log's power on ext4 until its context ends.
type Options struct {
	campaign.Limits

	// Subject is what is under test; nil is the log. It runs in this process.
	Subject campaign.Subject

	// Program, if set, is under test in place of a Subject. With files.Check as its check it
	// needs no other.
	Program kill.Program

	// Filesystem is what it runs on; without a name it is ext4.
	Filesystem Filesystem

	// Disks is how many states are checked at once; 0 is three for each core: a
	// mount waits more than it works.
	Disks int

	// NoBystander leaves out the unrelated file that is created and synced beside half of the
	// workloads.
	NoBystander bool

	// Once leaves the second cut, during the recovery from a first one, out.
	Once bool

	// Long is how long a program's workload may run; it is killed then. 0 is 5 s.
	Long time.Duration

	// Tries is how often Replay lives a life again that has run into a finding by itself,
	// before it says that nothing was found; 0 is 10. What a cut left is the same each time.
	Tries int
}

// programLong is how long a program's workload may run.
const programLong = 5 * time.Second

// withDefaults checks the options.
func (o Options) withDefaults() (Options, error) {
	switch {
	case (o.Program.Workload == "") != (o.Program.Check == ""):
		return o, fmt.Errorf("%w: a workload needs a check, and a check a workload", ErrOptions)
	case o.Program.Check == files.Check && o.Program.Legal != "":
		return o, fmt.Errorf("%w: a check of files has no second one", ErrOptions)
	case o.Program.Workload != "" && o.Subject != nil:
		return o, fmt.Errorf("%w: either a subject or a program", ErrOptions)
	case o.Program.Workload == "" && o.Subject == nil:
		o.Subject = &seawall.Log{}
	}
	if err := o.Mutate.Check(); err != nil {
		return o, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if o.Filesystem.Name == "" {
		o.Filesystem = Filesystems()[0]
	}
	if o.Long == 0 {
		o.Long = programLong
	}
	if o.Budget > 0 {
		o.Long = min(o.Long, o.Budget/2) // some of it is for the checks
	}
	if o.Tries == 0 {
		o.Tries = 10
	}
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	return o, o.Filesystem.ready()
}

// isProgram reports whether a program with checks of its own is under test, isWatched whether one
// is of which the files are checked.
func (o *Options) isProgram() bool { return o.Program.Workload != "" && !o.isWatched() }
func (o *Options) isWatched() bool { return o.Program.Check == files.Check }
