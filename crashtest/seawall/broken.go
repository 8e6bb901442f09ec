//go:build linux

package seawall

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// examination is a log on a broken disk, as far as it was looked at.
type examination struct {
	*Log
	dir   string
	marks []*Mark
	ever  map[written]bool

	altered error             // something is served that nobody has appended so
	told    string            // by a look that changes nothing; empty is nothing
	torn    bool              // the log has a torn end
	files   map[string][]byte // before it was opened
}

// written is a record of the life: content that was appended under an LSN.
type written struct {
	lsn wal.LSN
	sum uint64
}

// Examine implements campaign.Examiner. The log is verified, dumped with what can be extracted,
// read as another process reads it, opened and read. What came of it is decided in this order:
//
//  1. Each record that is served, by any of these ways, has to be one that the life has appended
//     under that LSN, and no LSN may be left out between two that are served in a row. Else it is
//     believed, whatever is told beside it: who reads a record does not read the verdict.
//  2. An error of Open or of a Reader is told. So is a verdict of damage where all is there.
//  3. Where all that was acknowledged is there, it is harmless.
//  4. Something acknowledged is missing now, and Open has returned. The log could have known
//     where a record of the current epoch (a stamp, a slot, the lock file) names an LSN durable
//     that is not there: such a record was written only after that LSN was synced. A verdict
//     other than damage is then believed, torn too.
//  5. What is left has to be a log that a power cut could have left on a disk that works, at an
//     earlier moment of the life: by both oracles, held against what was known then. (Only the
//     front may be an older one still: it is written elsewhere.) What is not, was made up of
//     several moments, and is believed.
//  6. A torn end is told as that. The log has seen that more was written, and shows and saves it;
//     which of it was acknowledged nothing on the disk says, by 4.
//  7. Open calls the log clean. Where Verify tells of damage, that is told: Open reads no more than
//     what may not have been durable, and whoever reads an altered record before that gets an
//     error (1). Where a frame of a missing record is in its segment, behind
//     a frame that it follows, it could have seen that: believed. (Where the bytes lie elsewhere,
//     as behind a misdirected write, nothing tells whose they are: a frame is valid in its own
//     place alone. They are told where zeros should be, or a frame, and lie unseen in what is
//     truncated, in the padding of a segment, in a slot, or in a file that is to be used again.)
//  8. Rolled back: by 5 a disk that works leaves the same at a moment when nothing was missing,
//     and a log that refused this content would refuse a legal state then (C5). By 4 and 7
//     nothing else tells the two moments apart. To know, the log would need a witness that is
//     not on the disk.
//
// A gap in the middle is never rolled back: what is behind it is in the files, so that it ends at
// 4, at 6 or at 7.
func (s *Log) Examine(dir string, life []campaign.Known, o campaign.Examination) (campaign.Examined, error) {
	x := &examination{Log: s, dir: filepath.Join(dir, logName), ever: map[written]bool{}}
	for _, k := range life {
		x.marks = append(x.marks, markOf(k))
	}
	x.noteWritten()
	promised := wal.LSN(o.Promised)
	if !o.OpenFirst {
		x.look()
		x.files = readFiles(x.dir)
		promised = promise(x.files)
	}
	held, refused := x.open()
	e := x.judge(held, refused, promised)
	e.Promised = uint64(promised)
	return e, nil
}

// noteWritten notes all that the life has appended. Marks share the beginning of their runs.
func (x *examination) noteWritten() {
	known := map[run]bool{}
	for _, mark := range x.marks {
		for _, m := range mark.worlds() {
			for i := len(m.runs) - 1; i >= 0; i-- {
				r, to := m.runs[i], m.begun
				if i+1 < len(m.runs) {
					to = m.runs[i+1].from - 1
				}
				single := r.from == to
				if single && known[r] {
					break // and so are those before
				}
				known[r] = single
				for lsn := r.from; lsn <= to; lsn++ {
					sum := r.sum
					if sum == 0 || !single {
						sum = Sum(r.record(uint64(lsn)))
					}
					x.ever[written{lsn, sum}] = true
				}
			}
		}
	}
}

// serves notes a record that is served.
func (x *examination) serves(by string, lsn wal.LSN, p []byte) {
	if x.altered == nil && !x.ever[written{lsn, Sum(p)}] {
		x.altered = fmt.Errorf("%s serves a record %d that was never appended so", by, lsn)
	}
}

// collect returns what takes records in a row, and notes them.
func (x *examination) collect(by string, h *Held) func(wal.LSN, []byte) error {
	return func(lsn wal.LSN, p []byte) error {
		if err := h.Add(lsn, p); err != nil && x.altered == nil {
			x.altered = fmt.Errorf("%s leaves a gap: %w", by, err)
		}
		x.serves(by, lsn, p)
		return nil
	}
}

// tells notes what is told of a log.
func (x *examination) tells(by string, v wal.Verdict, damage []wal.Damage, err error) {
	switch {
	case errors.Is(err, wal.ErrMissing):
	case err != nil && x.told == "":
		x.told = fmt.Sprintf("%s: %v", by, err)
	case err == nil && v == wal.Damaged && x.told == "":
		if x.told = by + ": damaged"; len(damage) > 0 {
			x.told += fmt.Sprintf(": %s at %d: %s", damage[0].File, damage[0].Offset, damage[0].Reason)
		}
	}
	x.torn = x.torn || err == nil && v == wal.Torn
}

// look looks at the log by all ways that change nothing.
func (x *examination) look() {
	verify := x.VerifyLog
	if verify == nil {
		verify = wal.Verify
	}
	rep, err := verify(x.dir)
	if err != nil {
		x.tells("verify", 0, nil, err)
	} else {
		x.tells("verify", rep.Verdict, rep.Damage, nil)
	}
	rep, err = wal.Dump(x.dir, wal.DumpOptions{Behind: func(lsn wal.LSN, p []byte) error {
		x.serves("dump --extract", lsn, p)
		return nil
	}}, x.collect("dump", &Held{}))
	if err != nil {
		x.tells("dump", 0, nil, err)
	} else {
		x.tells("dump", rep.Verdict, rep.Damage, nil)
	}
	l, err := wal.OpenReader(x.dir)
	if err != nil {
		x.tells("reading", 0, nil, err)
		return
	}
	err = x.read("a reader of another process", l.Reader(0), &Held{})
	x.tells("reading", l.Verdict(), nil, errors.Join(err, l.Close()))
}

// read reads all records.
func (x *examination) read(by string, r *wal.Reader, h *Held) error {
	add := x.collect(by, h)
	for r.Next() {
		_ = add(r.LSN(), r.Record()) // it returns none
	}
	return errors.Join(r.Err(), r.Close())
}

// open opens the log and reads it. It returns how that was refused, or nil.
func (x *examination) open() (*Held, error) {
	l, err := x.reopen(x.dir)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	rep := l.Recovery()
	x.torn = x.torn || rep.Verdict == wal.Torn || rep.Trimmed
	h, first, last := &Held{}, l.FirstLSN(), l.LastLSN()
	if err = errors.Join(x.read("open", l.Reader(0), h), l.Close()); err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if err = h.FinishAll(first, last); err != nil && x.altered == nil {
		x.altered = err
	}
	return h, nil
}

// judge decides what came of it: see Examine.
func (x *examination) judge(h *Held, refused error, promised wal.LSN) campaign.Examined {
	believed := func(kind campaign.Kind, clause campaign.Clause, what string) campaign.Examined {
		return campaign.Examined{Outcome: campaign.Believed, Kind: kind, Clause: clause, What: what}
	}
	switch {
	case x.altered != nil:
		return believed(campaign.Illegal, "C3", x.altered.Error())
	case refused != nil:
		return campaign.Examined{Outcome: campaign.Told, What: refused.Error()}
	}
	latest := x.marks[len(x.marks)-1]
	missing := campaign.Check(h, latest, false)
	if missing == nil && x.told != "" {
		return campaign.Examined{Outcome: campaign.Told, What: x.told}
	} else if missing == nil {
		return campaign.Examined{Outcome: campaign.Harmless}
	}
	older, trace := x.older(h), x.trace(h, latest)
	switch {
	case h.Last < promised:
		return believed(campaign.Lost, "C5", fmt.Sprintf("%s, and open says nothing of it, though record %d is named durable", missing.What, promised))
	case older != nil:
		return believed(missing.Kind, missing.Clause, fmt.Sprintf("%s, and no moment of the life explains what open serves: %v", missing.What, older))
	case x.torn:
		return campaign.Examined{Outcome: campaign.ToldTorn, Kind: missing.Kind, Clause: missing.Clause, What: missing.What}
	case x.told != "":
		return campaign.Examined{Outcome: campaign.Told, What: x.told}
	case trace != "":
		return believed(missing.Kind, "C5", fmt.Sprintf("%s, and the log is clean, though %s", missing.What, trace))
	}
	return campaign.Examined{Outcome: campaign.RolledBack, Kind: missing.Kind, Clause: missing.Clause, What: missing.What}
}

// older returns an error unless the log is one that a power cut could have left at some moment of
// the life, with the front of that moment or of an earlier one.
func (x *examination) older(h *Held) error {
	err := errors.New("there is none")
	for i := len(x.marks) - 1; i >= 0; i-- {
		for _, m := range x.marks[i].worlds() {
			c := *m
			c.front = min(c.front, max(h.First, 1))
			if err = h.is(&c, false); err == nil {
				return nil
			}
		}
	}
	return err
}

// leastTrace is how many bytes of a record are looked for: they are nowhere by chance.
const leastTrace = 24

// trace tells where a record is that was acknowledged and is missing, or nothing.
func (x *examination) trace(h *Held, m *Mark) string {
	for i, r := range m.runs {
		to := m.durable
		if i+1 < len(m.runs) {
			to = min(to, m.runs[i+1].from-1)
		}
		for lsn := max(r.from, h.Last+1, m.front); lsn <= to && !r.many; lsn++ {
			p := r.record(uint64(lsn))
			if len(p) < leastTrace {
				continue
			}
			for name, content := range x.files {
				if len(content) < frame.DataOffset {
					continue
				}
				frames := content[frame.DataOffset:]
				if at := bytes.Index(frames, p[:leastTrace]); at >= 0 && isLinked(content, frame.DataOffset+at-frame.HeaderBytes, lsn) {
					return fmt.Sprintf("record %d is in %s, at %d", lsn, name, frame.DataOffset+at)
				}
			}
		}
	}
	return ""
}

// isLinked reports whether a frame at an offset of a segment is of that segment, and follows the
// frame before it there, or begins the segment.
func isLinked(content []byte, off int, lsn wal.LSN) bool {
	head := frame.DecodeHead(content)
	f, err := frame.Decode(content[max(off, 0):], lsn)
	if off < frame.DataOffset || head.HeaderErr != nil || err != nil {
		return false
	}
	var b frame.Buffer
	if head.StampErr == nil && b.Linked(&f, head.Seed, head.Link, int64(off)) {
		return true
	}
	for at := frame.DataOffset; at < off; at += frame.Alignment {
		before, err := frame.Decode(content[at:], 0)
		if err == nil && at+int(frame.Size(int64(before.Length))) == off && b.Linked(&f, head.Seed, before.Link, int64(off)) {
			return true
		}
	}
	return false
}

// readFiles returns what the files of a directory hold. What cannot be read is left out: it is
// no trace that the log could have seen.
func readFiles(dir string) map[string][]byte {
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return files
	}
	for _, e := range entries {
		if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil {
			files[e.Name()] = b
		}
	}
	return files
}
