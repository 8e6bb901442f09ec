//go:build linux

package seawall

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// promise returns the highest LSN that the files of a log name durable, in records of its newest
// epoch: in stamps and slots of segments, and in the lock file. It asks nothing but the decoders
// of these records: recovery is what is judged by it. Those of older epochs may have been cut.
func promise(files map[string][]byte) wal.LSN {
	var epoch uint32
	var durable wal.LSN
	note := func(e uint32, lsn wal.LSN) {
		switch {
		case e > epoch:
			epoch, durable = e, lsn
		case e == epoch:
			durable = max(durable, lsn)
		}
	}
	for name, p := range files {
		if name == "seawall.lock" {
			for n := range 2 {
				if off := frame.CheckpointOffset + n*frame.BlockBytes; off < len(p) {
					if c, err := frame.DecodeCheckpoint(p[off:]); err == nil {
						note(c.Epoch, c.Watermark)
					}
				}
			}
			continue
		}
		if len(p) < frame.DataOffset {
			continue
		}
		h, err := frame.DecodeHeader(p)
		if err != nil {
			continue
		}
		if s, _, err := frame.DecodeStamp(p[frame.StampOffset:], &h); err == nil {
			note(s.Epoch, s.Watermark)
		}
		for n := range frame.Slots {
			if s, err := frame.DecodeSlot(p[frame.SlotOffset+n*frame.BlockBytes:], h.Seed()); err == nil {
				note(s.Epoch, s.Watermark)
			}
		}
	}
	return durable
}

// AppendLife implements campaign.Examiner. Unlike AppendKnown it leaves nothing out: a broken disk
// may bring back what no crash can.
func (s *Log) AppendLife(b []byte, life []campaign.Known) ([]byte, error) {
	var plain []byte
	for _, k := range life {
		m := *markOf(k)
		plain = binary.AppendUvarint(plain, uint64(m.front))
		plain = binary.AppendUvarint(plain, uint64(m.appended))
		m.front, m.appended = 1, 0 // so that no run and no batch counts as over
		plain = m.encode(plain)
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression) // the marks are nearly the same
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	return append(b, packed.Bytes()...), err
}

// mostLife bounds what a life unpacks to.
const mostLife = 64 << 20

// ParseLife implements campaign.Examiner.
func (s *Log) ParseLife(b []byte) ([]campaign.Known, error) {
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), mostLife))
	if err != nil {
		return nil, fmt.Errorf("%w: what was known is not whole: %w", campaign.ErrToken, err)
	}
	var life []campaign.Known
	for len(plain) > 0 {
		front, n := binary.Uvarint(plain)
		appended, k := binary.Uvarint(plain[max(n, 0):])
		if n <= 0 || k <= 0 {
			return nil, fmt.Errorf("%w: %w", campaign.ErrToken, errors.New("what was known is not whole"))
		}
		plain = plain[n+k:]
		m := decodeMark(&plain)
		m.front, m.appended = wal.LSN(front), wal.LSN(appended)
		life = append(life, m)
	}
	return life, nil
}
