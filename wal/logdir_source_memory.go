package wal

import (
	"fmt"
	"slices"
	"sync"

	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
	"github.com/seawall-wal/seawall/wal/internal/seam"
)

func init() { seam.Judge = judgeMemory }

// memoryFile is a segment's file that is in memory.
type memoryFile []byte

var _ recovery.Bytes = memoryFile(nil)

// Head implements recovery.Bytes.
func (m memoryFile) Head() ([]byte, error) { return m[:min(len(m), frame.DataOffset)], nil }

// Load implements recovery.Bytes.
func (m memoryFile) Load() ([]byte, error) { return m, nil }

// Touch implements recovery.Bytes.
func (m memoryFile) Touch(int64, int64) error { return nil }

// Release implements recovery.Bytes.
func (m memoryFile) Release(int64, int64) {}

// Unload implements recovery.Bytes.
func (m memoryFile) Unload() {}

// memoryRoom is what one judgement needs, to be used again.
type memoryRoom struct {
	names   []string
	entries []entry
	files   []recovery.File
}

var memoryRooms = sync.Pool{New: func() any { return new(memoryRoom) }}

// judgeMemory judges the files of a log's directory.
func judgeMemory(files map[string][]byte, all bool, visit func(uint64, []byte) error) (seam.Judgement, error) {
	room := memoryRooms.Get().(*memoryRoom)
	defer memoryRooms.Put(room)
	room.names = room.names[:0]
	for name := range files {
		room.names = append(room.names, name)
	}
	slices.Sort(room.names)
	room.entries = appendEntries(room.entries[:0], room.names)
	room.files = room.files[:0]
	for _, e := range room.entries {
		b := files[e.name]
		room.files = append(room.files, recovery.File{
			Name: e.name, Ordinal: e.ordinal, Temp: e.temp, Size: int64(len(b)), Bytes: memoryFile(b),
		})
	}
	known := parseLock(files[lockName])
	res, err := judgeFiles(known, room.files, recovery.Options{
		All: all, Visit: func(r recovery.Record) error { return visit(uint64(r.LSN), r.Payload) },
	})
	if err != nil {
		return seam.Judgement{}, err
	}
	j := seam.Judgement{
		First: uint64(res.Front), Last: uint64(res.Tail.LSN), Watermark: uint64(res.Watermark),
		Verdict: seam.Verdict(res.Verdict), Missing: neverWas(known, res),
	}
	if len(res.Damage) > 0 {
		d := res.Damage[0]
		j.Damage = fmt.Sprintf("%s at %d: %s, records %d to %d", d.File, d.Offset, d.Reason, d.First, d.Last)
	}
	return j, nil
}
