package wal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// overwrittenAt writes bytes into a file in place.
func overwrittenAt(off int64, b []byte) func(string) error {
	return func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(b, off)
		return errors.Join(err, f.Close())
	}
}

// TestPreparedSegmentHarmed harms the next segment: no record is appended to it.
func TestPreparedSegmentHarmed(t *testing.T) {
	for _, h := range []harm{
		{"removed", os.Remove},
		{"header overwritten", overwrittenAt(frame.HeaderOffset, make([]byte, 512))},
		{"stamp overwritten", overwrittenAt(frame.StampOffset, []byte{1, 2, 3})},
	} {
		t.Run(h.name, func(t *testing.T) {
			l, dir := harmed(t, fastDir(t))
			defer l.Close()
			const file = "0000000000000003.wal"
			awaitPrepared(t, l, dir)
			if err := h.do(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			var err error
			rotations := l.Stats().Rotations
			for range 16 {
				if _, err = l.Append(record(l.LastLSN()+1, 7000)); err != nil {
					break
				}
			}
			if !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), file) || l.Stats().Rotations != rotations {
				t.Errorf("%d rotations: %v", l.Stats().Rotations, err)
			}
		})
	}
}

// TestHeadOverwritten overwrites what says whose the records are: they are not
// acknowledged.
func TestHeadOverwritten(t *testing.T) {
	for _, h := range []harm{
		{"header", overwrittenAt(frame.HeaderOffset, make([]byte, 512))},
		{"stamp", overwrittenAt(frame.StampOffset, make([]byte, 512))},
	} {
		t.Run(h.name, func(t *testing.T) {
			l, dir := harmed(t, fastDir(t))
			defer l.Close()
			const file = "0000000000000002.wal"
			if err := h.do(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			if err := l.Sync(); !errors.Is(err, wal.ErrPoisoned) || !strings.Contains(err.Error(), file) || l.DurableLSN() != 3 {
				t.Errorf("durable %d: %v", l.DurableLSN(), err)
			}
		})
	}
}
