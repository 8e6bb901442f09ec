package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// Inspection describes a log's files at one moment: what lies where, how much of it
// is in memory, and how much is not on the device yet. It says nothing of the records'
// integrity: Verify does.
type Inspection struct {
	Dir  string `json:"dir"`
	UUID UUID   `json:"uuid"`
	// Live says whether a writer has the log open.
	Live Tristate `json:"live"`
	// FirstLSN, LastLSN and DurableLSN are what the log's writer says, or said
	// last, in the control block; LastLSN is FirstLSN-1 where there is no
	// record. After a power loss it may say less than the log holds, or more:
	// the block proves nothing.
	FirstLSN   LSN `json:"first_lsn"`
	LastLSN    LSN `json:"last_lsn"`
	DurableLSN LSN `json:"durable_lsn"`
	// AtRisk is what a power loss could take now.
	AtRisk AtRisk `json:"at_risk"`
	// Ahead is how many segments are prepared or being prepared.
	Ahead int `json:"ahead"`
	// Pages adds up the segments' pages.
	Pages PageCount `json:"pages"`
	// CellBytes is how many bytes of a segment each character of a map stands
	// for.
	CellBytes int64              `json:"cell_bytes"`
	Segments  []SegmentInspected `json:"segments"`
	// Damage is what names and heads show: files that are missing or are not
	// what their names promise. That there is none says nothing of the records.
	Damage   []Damage `json:"damage"`
	Warnings []string `json:"warnings,omitempty"`
}

// AtRisk is what was appended and is not known to be durable.
type AtRisk struct {
	// Records is how many, by the control block.
	Records uint64 `json:"records"`
	// Bytes is how many bytes of segments they take. It is known where all frame
	// headers from the last checkpoint record before them on are in memory; where
	// it is not, Bytes is 0.
	Bytes      int64 `json:"bytes"`
	BytesKnown bool  `json:"bytes_known"`
}

// SegmentInspected is one segment's file.
type SegmentInspected struct {
	Name    string `json:"name"`
	Ordinal uint64 `json:"ordinal"`
	State   string `json:"state"` // as in SegmentInfo; never torn or unread
	// FirstLSN and LastLSN are its records; both 0 where it has none or they
	// are not known.
	FirstLSN LSN `json:"first_lsn"`
	LastLSN  LSN `json:"last_lsn"`
	// Size is the file's, in bytes. Used is where its last frame ends, as far as
	// that can be told without bringing pages into memory: UsedKnown says that
	// it is the very place. Otherwise it is Size for a full segment, which has
	// no space for one record more, and the least that is known for an active one.
	Size      int64     `json:"size"`
	Used      int64     `json:"used"`
	UsedKnown bool      `json:"used_known"`
	Pages     PageCount `json:"pages"`
	Map       PageMap   `json:"map"`
}

// mapColumns is how many characters the map of the largest segment may have.
const mapColumns = 64

// Inspect describes the files of a log as they are now. It needs read permission
// only, writes nothing and brings next to nothing into memory: it reads heads
// and control blocks, and frame headers that are in memory already. What the
// kernel does not tell this user is Unknown: residency and dirty pages are
// told to a file's owner and to those who may write it.
//
// It returns what Verify returns as errors; missing segments are in Damage.
func Inspect(dir string) (in *Inspection, err error) {
	d, err := openLogDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	err = retryScan(context.Background(), dir, "inspected", func() (further bool, err error) {
		in, err = inspectOnce(dir, d)
		return false, err
	})
	return in, err
}

// inspectOnce inspects once, or returns errRetry where the log was cut concurrently,
// or files were changed in a way that looks like damage. Heads are read one after
// the other, so during a cut they may be of different moments, and contradict each
// other. The writer announces a cut in the control block before it removes a file, and
// renames a file before it wipes it. So the control block and, where there is damage,
// names and files are read again after the heads, and compared.
func inspectOnce(path string, d *durability.Dir) (_ *Inspection, err error) {
	s, err := logdir.OpenSnapshotHeadless(d)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return nil, err
	}
	if s.Gone {
		return nil, errRetry
	}
	if err = checkHasLog(s, path); err != nil {
		return nil, err
	}
	x := &inspecting{Snapshot: s, in: &Inspection{Dir: path, Damage: []Damage{}, Segments: []SegmentInspected{}}}
	// Before anything is read, which brings pages in.
	err = x.countPages(mapColumns)
	before := x.readControls()
	if err == nil {
		err = x.survey()
	}
	if x.readControls().CutSince(before) || (err != nil || x.res.Verdict != recovery.Clean || x.control.Front > x.res.Front) && s.Changed() {
		return nil, errRetry
	}
	if err != nil {
		return nil, refusal(path, err)
	}
	x.records()
	if err := durability.Guard(x.follow); err != nil {
		return nil, err
	}
	x.warn()
	return x.in, nil
}

// inspecting is an inspection in progress.
//
// An inspection tells which pages are in memory, and so must not bring any in. It asks
// the kernel first (countPages). Then it reads heads directly where they are not in
// memory (headFile), and follows frames only as far as their headers are (trail). What
// it cannot find out in this way it reports as not known.
//
// This file has the inspection's order and its results; inspect_pages.go asks the kernel about
// pages, and inspect_frames.go reads heads and follows frames.
type inspecting struct {
	*logdir.Snapshot
	in      *Inspection
	heads   []*headFile
	res     *recovery.Result
	control frame.Control
}

// countPages asks the kernel about each file's pages. It runs before any file is read,
// since a read would bring pages into memory and be counted.
func (x *inspecting) countPages(columns int) error {
	largest := int64(0)
	for _, c := range x.Files {
		largest = max(largest, c.Size)
	}
	x.in.CellBytes = cellBytes(largest, columns)
	x.in.Pages = PageCount{Residency: durability.Known, Dirtiness: durability.Known, PageBytes: int64(pageSize)}
	for _, c := range x.Files {
		h := &headFile{MappedFile: c}
		x.heads = append(x.heads, h)
		info := SegmentInspected{Name: c.Name, Ordinal: c.Ordinal, Size: c.Size}
		err := h.countPages(x.in.CellBytes, &info)
		if err != nil {
			return err
		}
		x.in.Pages.add(&info.Pages)
		x.in.Segments = append(x.in.Segments, info)
	}
	return nil
}

// survey reads the heads, and recovers from them what can be told without a frame: the
// log's identity, front and epoch, and the state of each file. recovery reads the heads
// through headFile. It could not read a frame if it tried to: headFile refuses.
func (x *inspecting) survey() (err error) {
	files := x.RecoveryFiles()
	for i := range files {
		files[i].Bytes = x.heads[i]
	}
	if x.res, err = logdir.Survey(x.Known, files); err != nil {
		return err
	}
	for _, h := range x.heads {
		x.control = x.control.Later(controlIn(h.Kept.Bytes()))
	}
	return nil
}

// readControls is Snapshot.Control that brings no page in. It is asked before and after
// survey, and a cut shows in the difference.
func (x *inspecting) readControls() (top frame.Control) {
	for _, h := range x.heads {
		top = top.Later(h.Control())
	}
	return top
}

// records fills in what heads and the control block say of the records. The block is
// the newest source but proves nothing: after a crash it may be behind the heads, or
// ahead of them. So its numbers are raised to what the heads prove, and kept consistent
// with each other.
func (x *inspecting) records() {
	in, b := x.in, x.control
	in.UUID = UUID(x.res.UUID)
	switch {
	case x.Live:
		in.Live = Yes
	case x.Unsure != nil:
		in.Live = Unsure
	}
	in.FirstLSN = max(x.res.Front, b.Front)
	in.LastLSN, in.DurableLSN = b.Appended, b.Durable
	if tail := x.res.Tail.File; tail >= 0 {
		// Not less than the checkpoint records say, whatever has become of the block.
		w := max(x.res.Segments[tail].First-1, x.heads[tail].newestSlot().Watermark)
		in.LastLSN, in.DurableLSN = max(in.LastLSN, w), max(in.DurableLSN, w)
		x.res.Segments[tail].Last = in.LastLSN
	}
	in.LastLSN = max(in.LastLSN, in.FirstLSN-1)
	in.DurableLSN = min(max(in.DurableLSN, in.FirstLSN-1), in.LastLSN)
	in.AtRisk.Records = uint64(in.LastLSN - in.DurableLSN)
	for i, s := range x.res.Segments {
		info := &in.Segments[i]
		info.State = string(s.State)
		switch s.State {
		case recovery.StatePrepared, recovery.StateTemporary:
			in.Ahead++
		}
		if first := max(s.First, in.FirstLSN); s.First != 0 && s.Last >= first {
			info.FirstLSN, info.LastLSN = first, s.Last
		}
	}
	for _, d := range x.res.Damage {
		in.Damage = append(in.Damage, Damage{
			File: d.File, Offset: d.Offset, FirstLSN: d.First, LastLSN: d.Last, Reason: d.Reason,
		})
	}
	in.Warnings = append(in.Warnings, x.res.Warnings...)
}

// warn adds warnings of what the kernel does not tell this user. That something is not
// known is no error: the rest of the inspection holds without it.
func (x *inspecting) warn() {
	in := x.in
	if x.Unsure != nil {
		in.Warnings = append(in.Warnings, fmt.Sprintf("cannot ask whether the log has a writer: %v", x.Unsure))
	}
	if in.Pages.Reason != "" {
		in.Warnings = append(in.Warnings, "not known of all pages: "+in.Pages.Reason)
	}
}

// Tristate is an answer that may be unknown. The zero value is No.
type Tristate int

// The answers.
const (
	No Tristate = iota
	Yes
	Unsure
)

// String returns `no`, `yes` or `unknown`.
func (t Tristate) String() string {
	switch t {
	case No:
		return "no"
	case Yes:
		return "yes"
	}
	return "unknown"
}

// MarshalJSON implements json.Marshaler: true, false or null.
func (t Tristate) MarshalJSON() ([]byte, error) {
	switch t {
	case No:
		return []byte("false"), nil
	case Yes:
		return []byte("true"), nil
	}
	return []byte("null"), nil
}
