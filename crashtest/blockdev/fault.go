//go:build linux

package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// Effect is what a fault does to a request.
type Effect string

// The effects.
const (
	// EIO and ENOSPC answer the request by that error; nothing is done.
	EIO    Effect = "EIO"
	ENOSPC Effect = "ENOSPC"
	// Lie answers a flush, or a write, and does nothing.
	Lie Effect = "lie"
	// Flip changes one bit of what is written, or read.
	Flip Effect = "flip"
	// Tear writes the first bytes of one of the sectors only: the disk is not
	// powersafe.
	Tear Effect = "tear"
	// Slow lets the request wait for Delay.
	Slow Effect = "slow"
)

// Fault is what goes wrong with requests of a kind. Which bit or byte it meets
// depends on its seed and on how many it met before.
type Fault struct {
	Op     Op
	Effect Effect

	// Off and Length choose the requests that touch these bytes; a Length of 0 is
	// all of the disk. Holding chooses writes whose data holds these bytes.
	Off     int64
	Length  int64
	Holding []byte

	// Nth is the first of the requests so chosen that is met, from 1 (0 is 1);
	// with Always so are all after it.
	Nth    int
	Always bool

	Delay time.Duration
	Seed  uint64
}

// errFault reports a fault that has no meaning.
var errFault = errors.New("blockdev: a fault that there is not")

// check returns an error unless the effect is one of the op's.
func (f *Fault) check() error {
	ops := map[Effect][]Op{
		EIO: {Read, Write, Flush, Discard}, ENOSPC: {Read, Write, Flush, Discard}, Slow: {Read, Write, Flush, Discard},
		Lie: {Write, Flush, Discard}, Flip: {Read, Write}, Tear: {Write},
	}[f.Effect]
	if !slices.Contains(ops, f.Op) {
		return fmt.Errorf("%w: %q of a %s", errFault, f.Effect, f.Op)
	}
	return nil
}

// armed is a fault of a disk.
type armed struct {
	Fault
	seen, met int
	rng       *rand.Rand
}

// arm returns faults that have met nothing yet.
func arm(faults []Fault) ([]*armed, error) {
	list := make([]*armed, 0, len(faults))
	for _, f := range faults {
		if err := f.check(); err != nil {
			return nil, err
		}
		list = append(list, &armed{Fault: f, rng: rand.New(rand.NewPCG(f.Seed, uint64(f.Op)))})
	}
	return list, nil
}

// meets reports whether a request is met.
func (a *armed) meets(op Op, off, length int64, data []byte) bool {
	if op != a.Op || a.Length > 0 && (off >= a.Off+a.Length || off+length <= a.Off) {
		return false
	}
	if len(a.Holding) > 0 && !bytes.Contains(data, a.Holding) {
		return false
	}
	a.seen++
	nth := max(a.Nth, 1)
	if a.seen != nth && (a.seen < nth || !a.Always) {
		return false
	}
	a.met++
	return true
}

// harm changes data at off as the effect says: a bit that is flipped is one of the bytes that the
// fault chooses. old returns what a sector held before.
func (a *armed) harm(data []byte, off int64, old func(sector int) []byte) {
	if len(data) == 0 {
		return
	}
	switch a.Effect {
	case Flip:
		part := data
		if a.Length > 0 { // meets has found that it touches these
			part = data[max(a.Off-off, 0):min(a.Off+a.Length-off, int64(len(data)))]
		}
		bit := a.rng.IntN(8 * len(part))
		part[bit/8] ^= 1 << (bit % 8)
	case Tear:
		sector := a.rng.IntN(len(data) / SectorBytes)
		keep := 1 + a.rng.IntN(SectorBytes-1)
		copy(data[sector*SectorBytes+keep:(sector+1)*SectorBytes], old(sector)[keep:])
	}
}

// fate is what becomes of a request.
type fate struct {
	errno syscall.Errno
	lie   bool
	harm  []*armed
	slow  time.Duration
}

// fateOf asks all faults.
func fateOf(faults []*armed, op Op, off, length int64, data []byte) (f fate) {
	for _, a := range faults {
		if !a.meets(op, off, length, data) {
			continue
		}
		switch a.Effect {
		case EIO:
			f.errno = syscall.EIO
		case ENOSPC:
			f.errno = syscall.ENOSPC
		case Lie:
			f.lie = true
		case Slow:
			f.slow += a.Delay
		default:
			f.harm = append(f.harm, a)
		}
	}
	return f
}
