//go:build linux

package truncate

import (
	"errors"

	"github.com/seawall-wal/seawall/wal"
)

// held is a record that is there.
type held struct {
	LSN wal.LSN `json:"lsn"`
	Gen uint64  `json:"gen"`
}

// state is what is left of a log, as a process says that comes to it afterwards.
type state struct {
	Verdict string       `json:"verdict"` // of Verify; empty with an error
	Error   string       `json:"error,omitempty"`
	Missing bool         `json:"missing,omitempty"` // there is no log
	Damage  []wal.Damage `json:"damage,omitempty"`

	Records []held `json:"records"` // that readers are given
	Behind  []held `json:"behind"`  // intact ones behind damage or a torn tail

	// Dump and Open are their errors. A log that can be opened is appended to, closed and
	// verified again.
	Dump    string `json:"dump,omitempty"`
	Open    string `json:"open,omitempty"`
	Corrupt bool   `json:"corrupt,omitempty"` // Open's is a CorruptError
	GoesOn  string `json:"goes_on,omitempty"` // why it does not, if so
}

// beCheck looks at what is left, and tells.
func beCheck(args *childArgs) error {
	tell := teller()
	var s state
	rep, err := wal.Verify(args.Dir)
	switch {
	case errors.Is(err, wal.ErrMissing):
		s.Missing = true
	case err != nil:
		s.Error = oneLine(err)
	default:
		s.Verdict, s.Damage = rep.Verdict.String(), rep.Damage
	}
	keep := func(list *[]held) func(wal.LSN, []byte) error {
		return func(lsn wal.LSN, p []byte) error {
			gen, ok := genOf(lsn, p)
			if !ok {
				tell("other bytes", other{Who: "dump afterwards", LSN: lsn, When: clock()})
			}
			*list = append(*list, held{lsn, gen})
			return nil
		}
	}
	if _, err = wal.Dump(args.Dir, wal.DumpOptions{Behind: keep(&s.Behind)}, keep(&s.Records)); err != nil && !errors.Is(err, wal.ErrMissing) {
		s.Dump = oneLine(err)
	}
	s.reopen(args.Dir)
	tell("state", s)
	return nil
}

// reopen opens the log, and goes on in it.
func (s *state) reopen(dir string) {
	l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes, MustExist: true})
	if err != nil {
		s.Open, s.Corrupt = oneLine(err), errors.Is(err, wal.ErrCorrupt)
		return
	}
	lsn, err := l.Append(recordOf(l.LastLSN()+1, 0))
	if err == nil {
		err = l.Sync()
	}
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		s.GoesOn = oneLine(err)
		return
	}
	rep, err := wal.Verify(dir)
	switch {
	case err != nil:
		s.GoesOn = oneLine(err)
	case s.Verdict != damaged && (rep.LastLSN != lsn || rep.Verdict.String() == damaged):
		s.GoesOn = "verify says " + rep.Verdict.String() + " once it was opened, appended to and closed"
	}
}

const (
	damaged = "damaged"
	noLog   = "no log"
)
