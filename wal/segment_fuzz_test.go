package wal_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// fuzzBase is the log that FuzzSegment mutates: one segment with records,
// batches, marks and checkpoints, and prepared ones.
var fuzzBase = sync.OnceValue(func() map[string][]byte {
	dir, err := os.MkdirTemp("", "seawall-fuzz-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	l, err := wal.Open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1, Align: wal.AlignSector})
	for i := 0; i < 12 && err == nil; i++ {
		if i%3 == 0 {
			_, err = l.AppendBatch([][]byte{record(l.LastLSN()+1, i), record(l.LastLSN()+2, 50)})
		} else {
			_, err = l.Append(record(l.LastLSN()+1, 20*i))
		}
		if i == 4 && err == nil {
			err = l.Checkpoint()
		}
		if i == 8 && err == nil {
			err = l.Sync()
		}
	}
	if err != nil {
		panic(err)
	}
	files := map[string][]byte{}
	for _, name := range []string{firstName, lockFile} {
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			panic(err)
		}
	}
	if err := l.Close(); err != nil {
		panic(err)
	}
	return files
})

// FuzzSegment changes a segment's file: 8 bytes of input say where, how much
// and what. Every call that reads it returns records that were appended or an
// error, does not panic, and changes nothing; Open goes on from what Verify
// said, or refuses.
func FuzzSegment(f *testing.F) {
	op := func(at, n uint16, v uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, at), n), v)
	}
	f.Add([]byte{})
	for _, at := range []uint16{0, 8, 12, 40, 76, 4096, 4096 + 40, 8192 + 20, 12288 + 56, 20480, 20480 + 8, 20480 + 16, 20600, 21000} {
		f.Add(op(at, 1, 1))
		f.Add(op(at, 4, 1<<32-1))
		f.Add(op(at, 600, 0))
		f.Add(append(op(at, 0, 0), op(at, 5, 77)...))
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		base := fuzzBase()
		s := &specimen{t: t, dir: filepath.Join(fastDir(t), "log")}
		s.fill(base)
		w := study(s)
		data := bytes.Clone(base[firstName])
		for n := 0; len(ops) >= 8 && n < 30; n, ops = n+1, ops[8:] {
			at, size := int(binary.LittleEndian.Uint16(ops)), int(binary.LittleEndian.Uint16(ops[2:]))
			v := binary.LittleEndian.Uint32(ops[4:])
			switch {
			case at > len(data):
			case size == 0 && v == 0:
				data = data[:at]
			case size == 4 && at+4 <= len(data):
				binary.LittleEndian.PutUint32(data[at:], v)
			default:
				for i := at; i < min(at+size, len(data)); i++ {
					data[i] = byte(v) * data[i] // 0: zeros, 1: as it was
				}
				if size == 1 && at < len(data) {
					data[at] ^= byte(v)
				}
			}
		}
		s.put(firstName, data)
		now := map[string][]byte{firstName: data}
		before := readDir(t, s.dir)
		if _, err := frame.DecodeHeader(data); err != nil && len(data) >= frame.SegmentHeaderBytes {
			// Another version cannot come of it: the checksum covers it.
			if _, verr := wal.Verify(s.dir); verr != nil {
				t.Fatalf("verify: %v", verr)
			}
		}
		rep := w.lawful("mutated", w.proved(now, base))
		unchanged(t, "looking", s.dir, before)
		w.openAgrees("mutated", rep)
	})
}
