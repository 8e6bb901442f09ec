package durability_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/seawall-wal/seawall/durability"
)

// TestBlank blanks pages of one mapping: they are zeros there, also where a load
// would fault, and the file and its other mappings are as they were.
func TestBlank(t *testing.T) {
	f, want, _ := randomFile(t, 4*page)
	m, err := f.Map(4*page, false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.Map(4*page, false)
	if err != nil {
		t.Fatal(err)
	}
	if err = m.Blank(page, 2*page); err != nil {
		t.Fatal(err)
	}
	blanked := bytes.Clone(want)
	clear(blanked[page : 3*page])
	if !bytes.Equal(m.Bytes(), blanked) || !bytes.Equal(other.Bytes(), want) {
		t.Error("the pages, or others, are not what they should be")
	}
	for _, r := range [][2]int64{{1, page}, {4 * page, page}, {-page, page}} {
		if err = m.Blank(r[0], r[1]); !errors.Is(err, durability.ErrRange) {
			t.Errorf("blank %d bytes at %d: %v", r[1], r[0], err)
		}
	}
	if err = m.Blank(page, 0); err != nil {
		t.Error(err)
	}
	if err = errors.Join(m.Unmap(), other.Unmap()); err != nil {
		t.Fatal(err)
	}
	if err = m.Blank(0, page); !errors.Is(err, durability.ErrClosed) {
		t.Errorf("behind Unmap: %v", err)
	}
	w, err := f.Map(4*page, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Blank(0, page); !errors.Is(err, durability.ErrRange) {
		t.Errorf("a mapping that can be stored to: %v", err)
	}
	if err := w.Unmap(); err != nil {
		t.Fatal(err)
	}
}
