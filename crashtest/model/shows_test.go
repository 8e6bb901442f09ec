//go:build linux

package model_test

import (
	"slices"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// TestShownBy: where a finding can show follows from what is lost, and what is not.
func TestShownBy(t *testing.T) {
	type pieces = []durabilitytest.Piece
	name := func(op durability.Op, from, to string, event int) durabilitytest.Piece {
		return durabilitytest.Piece{Kind: durabilitytest.NamePiece, Op: op, Name: from, NewName: to, Event: event}
	}
	data := func(kind durabilitytest.PieceKind, file string, event int) durabilitytest.Piece {
		return durabilitytest.Piece{Kind: kind, Name: file, Event: event}
	}
	all, posix := []string{"ext4", "xfs", "btrfs"}, []string{"POSIX only"}
	for _, tt := range []struct {
		what       string
		lost, kept pieces
		want       []string
	}{
		{"a page that was not synced", pieces{data(durabilitytest.SectorPiece, "log", 3)}, nil, all},
		{"the page in front of one that is there", pieces{data(durabilitytest.SectorPiece, "log", 3)}, pieces{data(durabilitytest.SectorPiece, "log", 4)}, all},
		{"a word of a store under way", pieces{data(durabilitytest.WordPiece, "log", 3)}, nil, all},
		{"a size", pieces{data(durabilitytest.SizePiece, "log", 3)}, nil, all},
		{"a truncation in part", pieces{data(durabilitytest.CutPiece, "log", 3)}, nil, posix},
		{"a rename", pieces{name(durability.OpRename, "tmp", "log", 5)}, nil, all},
		{"a removal", pieces{name(durability.OpRemove, "log", "", 5)}, nil, all},
		{"a rename in front of another one", pieces{name(durability.OpRename, "tmp", "log", 5)}, pieces{name(durability.OpRename, "tmp2", "log2", 9)}, posix},
		{"a rename behind another one", pieces{name(durability.OpRename, "tmp", "log", 9)}, pieces{name(durability.OpRename, "tmp2", "log2", 5)}, all},
		{"the birth of a file that was synced", pieces{name(durability.OpCreate, "log", "", 5)}, nil, posix},
		{"the birth of one that was not", pieces{name(durability.OpCreate, "log", "", 5), data(durabilitytest.SizePiece, "log", 6)}, nil, all},
		{"data behind its rename", pieces{data(durabilitytest.SectorPiece, "log", 3)}, pieces{name(durability.OpRename, "tmp", "log", 5)}, []string{"xfs", "btrfs"}},
		{"data of a new file", pieces{data(durabilitytest.SectorPiece, "log", 3)}, pieces{name(durability.OpCreate, "log", "", 2)}, []string{"xfs", "btrfs"}},
		{"data beside the rename of another file", pieces{data(durabilitytest.SectorPiece, "log", 3)}, pieces{name(durability.OpRename, "tmp", "other", 5)}, all},
	} {
		if got := model.ShownBy(tt.lost, tt.kept); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}
