//go:build linux

package kill

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sizes of the memory that a process shares with the lab, for each life: a
// head, and two slots for what is known. Pages that are not touched cost nothing.
const (
	boardHead  = 16 << 10
	boardSlot  = 1 << 20
	boardBytes = boardHead + 2*boardSlot
	boardText  = 4 << 10 // offset, and size, of the text in the head
)

// word is the place of a number in the head of a board.
type word int

// The numbers.
const (
	wordState word = iota
	wordPlace      // where the workload is: an index of places
	wordKnown      // counts the notes; its lowest bit names the slot
	wordLength0
	wordLength1
	wordText  // length of the text
	wordHalt  // the thread that waits at its aim
	wordStore // offset in the file of the store that it waits at
	wordBytes // and its length
	wordGo    // the lab has attached to it
	wordHit   // the life has reached its aim
)

// The states of a life.
const (
	stateNone   = iota // not begun
	stateAtWork        // from the first record on
	stateDone          // the workload has ended
	stateFailed        // with an error: the text
	stateBroken        // with a *campaign.Broken: the text
)

// board is the memory that a process shares with the lab for one life. Whatever
// was stored in it before the death of the process is there after it.
type board struct{ mem []byte }

// at returns a number.
func (b *board) at(w word) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&b.mem[8*w]))
}

// note replaces what is known. A death at any instruction leaves the old or the
// new. The caller prevents other notes at the same time.
func (b *board) note(known []byte) error {
	if len(known) > boardSlot {
		return fmt.Errorf("kill: %d bytes of knowledge, the limit is %d", len(known), boardSlot)
	}
	n := b.at(wordKnown).Load() + 1
	b.at(wordLength0 + word(n&1)).Store(uint64(len(known)))
	copy(b.slot(n), known)
	b.at(wordKnown).Store(n)
	return nil
}

// known returns the newest note, or nil where there is none. It is valid until
// the next one but one.
func (b *board) known() []byte {
	n := b.at(wordKnown).Load()
	if n == 0 {
		return nil
	}
	return b.slot(n)[:min(b.at(wordLength0+word(n&1)).Load(), boardSlot)]
}

// slot returns the slot of the n-th note.
func (b *board) slot(n uint64) []byte {
	from := boardHead + int(n&1)*boardSlot
	return b.mem[from : from+boardSlot]
}

// setText sets the text, cut off where it is too long.
func (b *board) setText(s string) {
	b.at(wordText).Store(uint64(copy(b.mem[boardText:2*boardText], s)))
}

// text returns the text.
func (b *board) text() string {
	return string(b.mem[boardText : boardText+min(b.at(wordText).Load(), boardText)])
}

// boards are those of one process.
type boards struct {
	file *os.File
	all  []byte
	list []*board
}

// newBoards makes boards for so many lives.
func newBoards(lives int) (*boards, error) {
	fd, err := unix.MemfdCreate("seawall-kill", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("kill: shared memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "seawall-kill")
	if err = f.Truncate(int64(lives) * boardBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("kill: shared memory: %w", err), f.Close())
	}
	return mapBoards(f, lives)
}

// mapBoards maps the boards in a file.
func mapBoards(f *os.File, lives int) (*boards, error) {
	all, err := unix.Mmap(int(f.Fd()), 0, lives*boardBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kill: shared memory: %w", err), f.Close())
	}
	bs := &boards{file: f, all: all}
	for i := range lives {
		bs.list = append(bs.list, &board{all[i*boardBytes : (i+1)*boardBytes]})
	}
	return bs, nil
}

// close unmaps them.
func (bs *boards) close() error { return errors.Join(unix.Munmap(bs.all), bs.file.Close()) }
