//go:build linux

package model

import (
	"slices"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// Where a finding can show, as Finding.Shows has it.
const (
	onAny   = "any" // the death of a process takes nothing that the kernel has
	onPOSIX = "POSIX only"
)

// filesystems are those of which it is told by rule.
var filesystems = []string{"ext4", "xfs", "btrfs"}

// shownBy tells on which filesystems a power loss can leave a state in which these
// pieces are lost and those are not, though neither is durable. It goes by rules, and
// measures nothing:
//
//   - Changes of directories become durable in their order, by a journal or a log tree:
//     no operation is lost whose successor is there. Nor is that of a file whose data
//     an fsync has made durable, where it created the file: the fsync commits it. A
//     rename or a removal that was not synced may be lost. (POSIX promises none of it.)
//   - A truncation is one change of the journal.
//   - Pages that were not synced may be lost in any order, and a page is written whole
//     but where the power fails within it. ext4, in its default mode data=ordered,
//     writes the data of a new file before the name that the file has got since (a
//     rename over another file, and blocks that are new with the transaction); xfs and
//     btrfs do not.
func shownBy(lost, kept []durabilitytest.Piece) []string {
	names := func(p *durabilitytest.Piece) bool { return p.Kind == durabilitytest.NamePiece }
	on := slices.Clone(filesystems)
	for i := range lost {
		p := &lost[i]
		switch {
		case p.Kind == durabilitytest.CutPiece:
			return []string{onPOSIX}
		case names(p) && slices.ContainsFunc(kept, func(k durabilitytest.Piece) bool { return names(&k) && k.Event > p.Event }):
			return []string{onPOSIX}
		case names(p) && p.Op == durability.OpCreate && !losesData(lost, p.Name):
			return []string{onPOSIX}
		case !names(p) && slices.ContainsFunc(kept, func(k durabilitytest.Piece) bool { return namesFile(&k, p.Name) }):
			on = slices.DeleteFunc(on, func(fs string) bool { return fs == "ext4" })
		}
	}
	return on
}

// losesData reports whether something of a file is lost besides its name.
func losesData(lost []durabilitytest.Piece, name string) bool {
	return slices.ContainsFunc(lost, func(p durabilitytest.Piece) bool {
		return p.Kind != durabilitytest.NamePiece && p.Name == name
	})
}

// namesFile reports whether the piece gives a file the name.
func namesFile(p *durabilitytest.Piece, name string) bool {
	return p.Kind == durabilitytest.NamePiece && (p.NewName == name || p.NewName == "" && p.Op == durability.OpCreate && p.Name == name)
}

// shown is shownBy for the state that is chosen.
func (e *explorer) shown() []string {
	var lost, kept []durabilitytest.Piece
	for i, p := range e.m.Pieces() {
		if e.m.Option(i) < p.Options-1 {
			lost = append(lost, p)
		} else {
			kept = append(kept, p)
		}
	}
	return shownBy(lost, kept)
}
