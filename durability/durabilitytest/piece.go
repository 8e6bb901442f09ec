package durabilitytest

import (
	"github.com/seawall-wal/seawall/durability"
)

// PieceKind says what a crash may take or leave.
type PieceKind uint8

// The kinds of pieces. Zero is none.
const (
	// SectorPiece is a sector of a file: the options are what it held since the
	// last sync.
	SectorPiece PieceKind = iota + 1

	// WordPiece is an aligned 8-byte word of a store or a write that is under
	// way: there or not.
	WordPiece

	// CutPiece is a sector that a truncation under way takes, or does not.
	CutPiece

	// SizePiece is the size of a file.
	SizePiece

	// NamePiece is an operation on a directory: there or not.
	NamePiece
)

// String returns the kind in a word.
func (k PieceKind) String() string {
	return [...]string{"none", "sector", "word", "cut", "size", "name"}[k]
}

// Piece is one thing that a power loss may take or leave by itself.
type Piece struct {
	Kind PieceKind

	// Name is the file's, relative to the directory of the Moment; that of a
	// NamePiece is what the operation is about. A file without a name has that
	// which it got last, or is going to get.
	Name    string
	Op      durability.Op // of a NamePiece
	NewName string        // of a rename, exchange or link

	// Offset and Length are the piece's place in the file, in bytes.
	Offset, Length int64

	// Options is how many there are, at least 2: from 0, the oldest, to
	// Options-1, the newest.
	Options int

	// Event is the position in the trace of what the oldest option lacks: the
	// first change that no sync covers.
	Event int

	file    *momentFile
	sector  *momentSector
	change  *momentChange
	word    int // byte offset in the sector
	sizes   []int64
	nameOps int // index into the moment's operations
}
