package wal

import (
	"fmt"
	"slices"

	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// Verdict is the outcome of a verification or a recovery.
type Verdict int

const (
	// Clean says that nothing lies behind the last record.
	Clean Verdict = iota
	// Torn says that something lies behind the last record, as a crash leaves
	// it: nothing that was acknowledged is lost. Open trims it.
	Torn
	// Damaged says that acknowledged records are lost or altered, or that a
	// segment is missing or unreadable. Open refuses the log.
	Damaged
)

// String returns `clean`, `torn` or `damaged`.
func (v Verdict) String() string { return recovery.Verdict(v).String() }

// MarshalText implements encoding.TextMarshaler.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Damage is one place where acknowledged data is lost or altered.
type Damage struct {
	// File is the segment's name within the log's directory.
	File string `json:"file"`
	// Offset is where the damage begins, in bytes from the file's start.
	Offset int64 `json:"offset"`
	// FirstLSN and LastLSN are the records that are lost there, inclusive;
	// both zero where none is known to be.
	FirstLSN LSN `json:"first_lsn"`
	LastLSN  LSN `json:"last_lsn"`
	// Unknown says that more records may be lost there, and that nothing tells
	// how many they were.
	Unknown bool   `json:"unknown,omitempty"`
	Reason  string `json:"reason"`
}

// SegmentInfo is what a report says of one file: a copy of recovery.Segment, which
// `seawall verify --json` prints as it is.
type SegmentInfo struct {
	Name     string `json:"name"`
	Ordinal  uint64 `json:"ordinal"`
	FirstLSN LSN    `json:"first_lsn"`
	LastLSN  LSN    `json:"last_lsn"`
	Records  uint64 `json:"records"`
	Bytes    int64  `json:"bytes"` // up to the end of its last frame
	State    string `json:"state"` // full, active, prepared, temporary, torn, remains, leftover, damaged, unread
}

// Sure says how sure it is that records behind damage are the log's.
type Sure string

const (
	// SureChain says that the chain of links that runs through the records is
	// intact, and that their segment's header or stamp vouches for it.
	SureChain Sure = "chain"
	// SureChecksums says that their segment has lost its header and its stamp: the
	// records were recognised by their lengths, the checksums of their payloads and
	// by their neighbours.
	SureChecksums Sure = "checksums"
)

// Extract is a run of records behind the tail, and how sure it is that they are
// the log's.
type Extract struct {
	First LSN  `json:"first_lsn"`
	Last  LSN  `json:"last_lsn"`
	Sure  Sure `json:"sure"`
}

// Report is what Verify, Repair, Dump and Open found.
type Report struct {
	Dir     string
	UUID    UUID
	Verdict Verdict
	// Live says that a writer had the log open. A record that it was appending then
	// does not count as torn.
	Live bool
	// FirstLSN and LastLSN are the log's records; LastLSN is FirstLSN-1 where
	// it has none. DurableLSN is the last one that is proved to have been
	// acknowledged as durable; the ones behind it are legal all the same.
	FirstLSN, LastLSN, DurableLSN LSN
	// Records is how many were checked: all of them for Verify.
	Records uint64
	// Bytes is how many bytes of segments were read. Where they were to be read
	// from the device, BufferedBytes of them came from the page cache all the
	// same; a warning says why.
	Bytes, BufferedBytes int64
	// TornBytes is how many lie behind the last record, up to the last one
	// that is not zero.
	TornBytes int64
	Damage    []Damage
	// Behind are the intact records behind the tail: what a trim removes. Those
	// that were acknowledged are in Lost instead, where a forced repair gave
	// them up.
	Behind []Range
	// Extracted are the intact records behind the tail that Dump handed out to
	// DumpOptions.Behind.
	Extracted []Extract
	Warnings  []string
	Segments  []SegmentInfo

	// Trimmed says that Open or Repair cut the log behind LastLSN.
	Trimmed bool
	// Saved are the files to which it saved what it removed: relative to Dir or, with
	// RepairOptions.SaveTo, below that as it was given.
	Saved []string
	// Lost are the acknowledged records that Repair with Force gave up.
	Lost []Range
	// LostUnknown says that these may not be all, and that nothing tells how many
	// more there were.
	LostUnknown bool
}

// newReport turns the result of a recovery into a report.
func newReport(dir string, r *recovery.Result) *Report {
	rep := &Report{
		Dir: dir, UUID: UUID(r.UUID), Verdict: Verdict(r.Verdict),
		FirstLSN: r.Front, LastLSN: r.Tail.LSN, DurableLSN: r.Watermark,
		Records: r.Records, TornBytes: r.TornBytes, Warnings: r.Warnings,
		Damage: []Damage{}, Segments: []SegmentInfo{},
	}
	for _, d := range r.Damage {
		rep.Damage = append(rep.Damage, Damage{
			File: d.File, Offset: d.Offset, FirstLSN: d.First, LastLSN: d.Last,
			Unknown: d.Unknown, Reason: d.Reason,
		})
	}
	for _, b := range r.Behind {
		rep.Behind = append(rep.Behind, Range{b.First, b.Last})
	}
	for _, s := range r.Segments {
		rep.Segments = append(rep.Segments, SegmentInfo{
			Name: s.Name, Ordinal: s.Ordinal, FirstLSN: s.First, LastLSN: s.Last,
			Records: s.Records, Bytes: s.Used, State: string(s.State),
		})
	}
	return rep
}

// count adds up what was read, and returns warnings of what is not known or could
// not be read. They are sorted, and files with the same reason make one warning, so that
// the same log gives the same report.
func (rep *Report) count(s *logdir.Snapshot) []string {
	var warnings []string
	if s.Unsure != nil {
		warnings = append(warnings, fmt.Sprintf("cannot ask whether the log has a writer, whose work may look torn: %v", s.Unsure))
	}
	reasons := make(map[string]int64)
	for _, m := range s.Files {
		rep.Bytes += m.Read
	}
	for _, d := range s.Device {
		rep.BufferedBytes += d.Buffered
		if d.Buffered > 0 {
			reasons[d.Reason] += d.Buffered
		}
	}
	for reason, n := range reasons {
		warnings = append(warnings, fmt.Sprintf("%d bytes were read from the page cache and not from the device: %s", n, reason))
	}
	slices.Sort(warnings)
	return warnings
}
