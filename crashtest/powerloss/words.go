//go:build linux

package powerloss

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// name makes the atlas of what lay where when the power was cut, with all
// requests there, and of the end of the recording; and so for the cuts before.
func (l *lab) name(d *blockdev.Disk, s *state) error {
	for at := s; at != nil; at = at.life.from {
		now, err := l.atlas(d, blockdev.View{Layer: at.life.rec.ID, Cut: at.life.epochs[at.epoch].To})
		if err != nil {
			return err
		}
		if now.later, err = l.atlas(d, at.life.rec.End()); err != nil {
			return err
		}
		at.atlas = now
	}
	return nil
}

// words tells what is missing of a state, and of those that it goes on from.
func (l *lab) words(s *state) []string {
	var words []string
	if s.life.from != nil {
		for _, w := range l.words(s.life.from) {
			words = append(words, "at the earlier cut: "+w)
		}
	}
	for _, lost := range s.lost {
		words = append(words, s.missing(lost))
	}
	return words
}

// missing tells what a missing request was to write, and where.
func (s *state) missing(lost blockdev.Lost) string {
	e := &s.life.rec.Events[lost.Event]
	sectors := lost.Sectors
	if sectors == nil {
		for i := range e.Sectors() {
			sectors = append(sectors, i)
		}
	}
	var blocks []int64
	for _, i := range sectors {
		blocks = append(blocks, (e.Off+int64(i)*blockdev.SectorBytes)/blockdev.BlockBytes)
	}
	blocks = slices.Compact(blocks)
	what := ""
	if s.atlas != nil {
		what = strings.Join(s.atlas.describe(blocks), "; ") + ": "
	}
	if lost.Sectors == nil {
		return fmt.Sprintf("%sa %s of %d bytes at byte %d of the disk", what, e.Op, e.Length, e.Off)
	}
	return fmt.Sprintf("%sof a %s of %d bytes at byte %d of the disk, %s %s",
		what, e.Op, e.Length, e.Off, map[bool]string{true: "sector", false: "sectors"}[len(sectors) == 1], ranges(sectors))
}

// ranges writes numbers that follow one another as 3-7.
func ranges(list []int) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		k := i
		for k+1 < len(list) && list[k+1] == list[k]+1 {
			k++
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		if fmt.Fprint(&b, list[i]); k > i {
			fmt.Fprintf(&b, "-%d", list[k])
		}
		i = k + 1
	}
	return b.String()
}
