package durability_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/seawall-wal/seawall/durability"
)

// TestStoreBehind stores behind what is there, and behind what is not, within a page and over its
// end.
func TestStoreBehind(t *testing.T) {
	t.Parallel()
	const want = 0xfedcba98
	a, b := bytes.Repeat([]byte{1}, 24), bytes.Repeat([]byte{2}, 100)
	for _, tt := range []struct {
		name string
		at   durability.Behind
		err  error
	}{
		{"with a word", durability.Behind{Link: 13, Want: want, Off: 64, Word: 32, Tell: 7}, nil},
		{"without", durability.Behind{Link: 13, Want: want, Off: 64}, nil},
		{"over the end of a page", durability.Behind{Link: 13, Want: want, Off: page - 50, Word: 32, Tell: 7}, nil},
		{"one bit of the link is another", durability.Behind{Link: 13, Want: want ^ 1<<31, Off: 64, Word: 32, Tell: 7}, durability.ErrOverwritten},
		{"the link was punched out", durability.Behind{Link: 200, Want: want, Off: 204, Word: 32, Tell: 7}, durability.ErrOverwritten},
	} {
		var stores []string
		d := newDir(t, tracerFunc(func(e durability.Event) {
			if e.Op == durability.OpStore {
				stores = append(stores, fmt.Sprint(e.Offset, " ", e.Length, " ", len(e.Data)+len(e.Data2)))
			}
		}))
		m := mapFile(t, newFile(t, d, "mapped", 2*page), 2*page)
		binary.LittleEndian.PutUint32(m.Bytes()[13:], want)
		before := bytes.Clone(m.Bytes())
		err := m.StoreBehind(&tt.at, a, b)
		if tt.err != nil {
			wantErr(t, err, tt.err)
			if len(stores) != 0 || !bytes.Equal(before, m.Bytes()) {
				t.Errorf("%s: something was stored: %v", tt.name, stores)
			}
			continue
		}
		must(t, err)
		copy(before[tt.at.Off:], append(bytes.Clone(a), b...))
		order := []string{fmt.Sprint(tt.at.Off, " 124 124")}
		if tt.at.Word != 0 {
			binary.LittleEndian.PutUint64(before[tt.at.Word:], tt.at.Tell)
			order = append(order, fmt.Sprint(tt.at.Word, " 8 8"))
		}
		if !bytes.Equal(before, m.Bytes()) {
			t.Errorf("%s: the mapping is not what was stored", tt.name)
		}
		if fmt.Sprint(stores) != fmt.Sprint(order) {
			t.Errorf("%s: the tracer saw %v, want %v", tt.name, stores, order)
		}
	}
}

// TestStoreBehindFault has each of the accesses meet what a truncation took away.
func TestStoreBehindFault(t *testing.T) {
	t.Parallel()
	some := bytes.Repeat([]byte{7}, 64)
	for _, tt := range []struct {
		name   string
		at     durability.Behind
		op     string
		offset int64
		stored bool
	}{
		{"the link", durability.Behind{Link: page + 5, Off: 64, Word: 8}, "load", page + 5, false},
		{"the bytes", durability.Behind{Off: page - 64, Word: 8}, "store", page, false},
		{"the word", durability.Behind{Off: 64, Word: page + 16, Tell: 1}, "store", page + 16, true},
	} {
		m := truncated(t)
		err := m.StoreBehind(&tt.at, some, some)
		var fault *durability.FaultError
		if !errors.As(err, &fault) || fault.Op != tt.op || fault.Offset != tt.offset || !m.Faulted(err) {
			t.Errorf("%s: error is %v, want a %s that faults at offset %d", tt.name, err, tt.op, tt.offset)
		}
		if got := m.Bytes()[64:192]; bytes.Equal(got, append(some, some...)) != tt.stored {
			t.Errorf("%s: stored is %v", tt.name, got)
		}
		if m.Bytes()[8] != 0 {
			t.Errorf("%s: the word tells of what is not there", tt.name)
		}
		if debug.SetPanicOnFault(false) {
			t.Errorf("%s: the goroutine is left with SetPanicOnFault(true)", tt.name)
		}
	}
}
