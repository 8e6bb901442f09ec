//go:build linux

package truncate

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/wal"
)

// row is how one life ended, for the table.
type row struct {
	change, moment string
	writer, reader bool   // had an error
	verdict        string // of verify
}

// acked is a record that was acknowledged.
type acked struct {
	gen uint64
	// late says that the call which acknowledged it began after the change.
	late bool
}

// verdict checks what the processes of a life have told, and what is left.
type verdict struct {
	l      *life
	how    *change
	left   state
	broken *campaign.Broken
	row    row

	names   map[string]bool             // that the changed file had, from the change on
	in      map[string]map[wal.LSN]bool // the records that each file has held
	now     segments                    // of the log
	renewed bool                        // a cut has come after the change, or the log was closed

	appended map[wal.LSN]step  // the call that appended a record
	acked    map[wal.LSN]acked // the records that are to be there
	front    wal.LSN           // what is before it was cut away
	last     wal.LSN           // that was ever appended
	cut      cutting           // the cut that is begun
	cuts     []acked           // ended cuts at the back: the generation that was cut
	behind   []wal.LSN         // and the record that was left as the last one
	proved   wal.LSN           // up to which the lock file tells what is durable
}

// verdict checks the life.
func (l *life) verdict(ctx context.Context) (*verdict, error) {
	v := &verdict{
		l: l, how: changeNamed(l.plan.Change), names: map[string]bool{}, in: map[string]map[wal.LSN]bool{},
		appended: map[wal.LSN]step{}, acked: map[wal.LSN]acked{},
	}
	if l.change == nil { // the writer has failed before it came to make one
		var err error
		v.broken, err = l.complained(l.writer)
		return v, err
	}
	v.names[l.change.File] = true
	check, err := l.check(ctx)
	if err != nil {
		return nil, err
	}
	if check.broken != nil {
		v.broken = check.broken
		return v, nil
	}
	for _, p := range []*process{l.writer, l.follower, check.process} {
		for _, line := range p.all {
			if err = v.hear(p, line); err != nil {
				return nil, fmt.Errorf("truncate: the %s says %q: %w", p.name, line.word, err)
			}
		}
	}
	v.row.change, v.row.moment, v.row.verdict = l.plan.Change, l.change.Moment, v.left.Verdict
	if v.left.Missing {
		v.row.verdict = noLog
	} else if v.left.Error != "" {
		v.row.verdict = "error"
	}
	v.judge()
	return v, nil
}

// hear takes in one line of a process.
func (v *verdict) hear(p *process, line said) error {
	into := func(x any) error { return json.Unmarshal([]byte(line.json), x) }
	switch line.word {
	case "step":
		var s step
		if err := into(&s); err != nil {
			return err
		}
		v.step(&s)
	case "segments":
		if err := into(&v.now); err != nil {
			return err
		}
	case "cutting":
		var c cutting
		if err := into(&c); err != nil {
			return err
		}
		for lsn := range v.acked {
			if lsn < c.Front || c.Back > 0 && lsn > c.Back {
				delete(v.acked, lsn)
			}
		}
		v.front, v.cut = max(v.front, c.Front), c
		if c.Back > 0 {
			v.proved = min(v.proved, c.Back)
		}
	case "renamed":
		var names [2]string
		if err := into(&names); err != nil {
			return err
		}
		if v.names[names[0]] {
			v.names[names[1]] = true
		}
	case "failed", "reader failed":
		var f failed
		if err := into(&f); err != nil {
			return err
		}
		v.failure(p, line.word == "failed", &f)
	case "forgiven":
		var call string
		if err := into(&call); err != nil {
			return err
		}
		v.found(campaign.Illegal, "C6", "the log was poisoned, and %s succeeded", call)
	case "other bytes":
		var o other
		if err := into(&o); err != nil {
			return err
		}
		// A record is lent where it lies: who looks at it there sees the change.
		if !o.Lent || o.When < v.l.change.Began || v.how.keeps {
			v.found(campaign.Illegal, "C9", "%s was given other bytes than were appended as record %d", o.Who, o.LSN)
		}
	case "state":
		return into(&v.left)
	}
	return nil
}

// step takes in a call of the writer.
func (v *verdict) step(s *step) {
	if s.Doing == doingCut && v.cut.Back > 0 {
		v.cuts, v.behind, v.cut = append(v.cuts, acked{gen: s.Gen}), append(v.behind, v.cut.Back), cutting{}
	}
	v.last = max(v.last, s.AppendedTo)
	for lsn := s.AppendedFrom + 1; lsn <= s.AppendedTo; lsn++ {
		if old, is := v.acked[lsn]; is && v.owed(lsn, old) {
			v.found(campaign.Lost, "C7", "record %d was acknowledged, and its LSN was given to another record", lsn)
		}
		delete(v.acked, lsn)
		v.appended[lsn] = *s
	}
	for i, seg := range v.now {
		to := s.AppendedTo
		if i+1 < len(v.now) {
			to = min(to, v.now[i+1].FirstLSN-1)
		}
		if v.in[seg.Name] == nil {
			v.in[seg.Name] = map[wal.LSN]bool{}
		}
		for lsn := seg.FirstLSN; lsn <= to; lsn++ {
			v.in[seg.Name][lsn] = true
		}
	}
	for lsn := max(v.front, s.DurableFrom+1); lsn <= s.DurableTo; lsn++ {
		by, c := v.appended[lsn], v.l.change
		switch late := s.Began > c.Ended && (!s.Delayed || by.Began > c.Ended); {
		case late:
			v.acked[lsn] = acked{by.Gen, true}
		case s.Ended < c.Began:
			v.acked[lsn] = acked{by.Gen, false}
		}
	}
	if s.Proved {
		v.proved = s.DurableTo
	}
	v.after(s)
}

// after checks a call that succeeded, if it began after the change. A sync looks at the file in
// which the log ends, at the lock file and at the directory, also where nothing was appended. A
// cut may have made a new segment of the file before, and an opening, of which the change may
// have come in the middle, has found the files as they were by then.
func (v *verdict) after(s *step) {
	switch {
	case s.Doing == doingClose, s.Doing == doingCut && s.Ended > v.l.change.Began:
		v.renewed = true
	case s.Doing != doingSync || s.Began < v.l.change.Ended || s.Delayed || s.AppendedFrom != s.AppendedTo:
	case v.renewed || !v.how.gone || strings.HasSuffix(v.l.change.File, ".tmp"): // which may have been filled since
	case v.how.ofDir, v.names[lockName], len(v.now) > 0 && v.names[v.now[len(v.now)-1].Name]:
		v.found(campaign.Lost, "C7", "a sync succeeded although the log ends in what was changed, or is locked by it")
	}
}

// owed reports whether an acknowledged record has to be there whatever was changed.
func (v *verdict) owed(lsn wal.LSN, a acked) bool {
	switch {
	case a.late || v.how.keeps:
		return true
	case v.how.ofDir:
		return false
	}
	for name := range v.names {
		if v.in[name][lsn] {
			return false
		}
	}
	return true
}

// failure takes in an error: there is none before the change, and it names what was
// changed.
func (v *verdict) failure(p *process, writers bool, f *failed) {
	if writers {
		v.row.writer = true
	} else {
		v.row.reader = true
	}
	who := f.Doing
	if writers {
		who = "the " + p.name + "'s " + f.Doing
	}
	switch {
	case v.l.plan.Change == nothing:
		v.found(campaign.Misjudged, "C7", "nothing was changed, and %s failed: %s", who, f.Text)
	case f.When < v.l.change.Began:
		v.found(campaign.Misjudged, "C7", "before anything was changed, %s failed: %s", who, f.Text)
	case !v.named(f.Text):
		v.found(campaign.Misjudged, "C7", "%s failed and does not name the file: %s", who, f.Text)
	}
}

// named reports whether a text names what was changed, or where that shows. A segment whose
// stamp is gone looks like one that was never entered: the log seems to end in the segment
// before it, and that one is named; or other segments count as missing, as what the log's
// end alone told (where it begins, what was cut away) is gone.
func (v *verdict) named(text string) bool {
	switch {
	case v.how.ofDir:
		return strings.Contains(text, v.l.dir)
	case v.names[lockName]:
		return strings.Contains(text, lockName)
	case strings.Contains(text, "missing") || strings.Contains(text, "of an older moment"):
		return true
	}
	for name := range v.names {
		name, _, _ = strings.Cut(name, ".") // temporary ones and final ones begin alike
		if strings.Contains(text, name) {
			return true
		}
		if n, err := strconv.ParseUint(name, 16, 64); err == nil && strings.Contains(text, fmt.Sprintf("%016x", n-1)) {
			return true
		}
	}
	return false
}

// found notes the first thing that is broken.
func (v *verdict) found(kind campaign.Kind, clause campaign.Clause, format string, args ...any) {
	if v.broken == nil {
		v.broken = &campaign.Broken{Kind: kind, Clause: clause, What: fmt.Sprintf(format, args...)}
	}
}

// judge checks what is left.
func (v *verdict) judge() {
	read, there := map[wal.LSN]uint64{}, map[wal.LSN]bool{}
	for _, r := range v.left.Records {
		read[r.LSN] = r.Gen
	}
	for _, r := range append(v.left.Records, v.left.Behind...) {
		if a, is := v.acked[r.LSN]; is && a.gen == r.Gen {
			there[r.LSN] = true
		}
	}
	var last wal.LSN
	for lsn := range v.acked {
		last = max(last, lsn)
	}
	for lsn := wal.LSN(1); lsn <= last; lsn++ {
		a, is := v.acked[lsn]
		switch gen, given := read[lsn]; {
		case !is:
		case !there[lsn] && v.owed(lsn, a):
			when := "lay in another file"
			if a.late {
				when = "was acknowledged after the change"
			}
			v.found(campaign.Lost, "C7", "record %d %s, and is gone; verify says %s", lsn, when, v.row.verdict)
		case given && gen == a.gen || v.row.verdict == damaged || v.row.verdict == noLog || v.row.verdict == "error":
		case v.provable(lsn):
			v.found(campaign.Misjudged, "C5", "record %d was acknowledged and is gone, and verify says %s", lsn, v.row.verdict)
		}
	}
	v.judgeRecords()
	v.judgeErrors()
}

// judgeRecords checks that what readers are given is one run of records, none of which was
// cut away, or never appended: three may be in the call that failed.
func (v *verdict) judgeRecords() {
	for i, r := range v.left.Records {
		if before := v.left.Records; i > 0 && r.LSN != before[i-1].LSN+1 {
			v.found(campaign.Illegal, "C3", "record %d follows record %d", r.LSN, before[i-1].LSN)
		}
		if r.LSN > v.last+3 {
			v.found(campaign.Illegal, "C3", "record %d is there, and was never appended: %d was the last", r.LSN, v.last)
		}
		for k, cut := range v.cuts {
			if !v.how.ofDir && r.LSN > v.behind[k] && r.Gen <= cut.gen {
				v.found(campaign.Illegal, "C3", "record %d is there again, which was cut away behind %d", r.LSN, v.behind[k])
			}
		}
	}
}

// provable reports whether anything is left by which verify can know of an acknowledged
// record. Where what was changed is the segment in which the log ends, that is the lock
// file, which tells of the last checkpoint.
func (v *verdict) provable(lsn wal.LSN) bool {
	if v.how.ofDir {
		return false
	}
	var last wal.LSN
	for known := range v.acked {
		last = max(last, known)
	}
	for name := range v.names {
		if v.in[name][last] || len(v.now) > 0 && v.now[len(v.now)-1].Name == name {
			return lsn <= v.proved
		}
	}
	return !v.names[lockName]
}

// judgeErrors checks what verify, dump and Open say afterwards.
func (v *verdict) judgeErrors() {
	s := &v.left
	for _, text := range []string{s.Error, s.Dump} {
		if text != "" {
			v.found(campaign.Misjudged, "C5", "afterwards it cannot be looked at: %s", text)
		}
	}
	// Damage of one file shows in others, too: the tail's slot may have named the front.
	is := len(s.Damage) == 0 || v.how.ofDir
	for _, d := range s.Damage {
		is = is || v.named(d.File+": "+d.Reason)
	}
	switch {
	case len(s.Damage) > 0 && v.how.keeps:
		v.found(campaign.Misjudged, "C5", "nothing was taken away, and verify says damaged: %s: %s", s.Damage[0].File, s.Damage[0].Reason)
	case !is:
		v.found(campaign.Misjudged, "C5", "verify says damaged, and not of the file that was changed: %s: %s", s.Damage[0].File, s.Damage[0].Reason)
	}
	switch {
	case v.l.plan.Change == nothing && s.Verdict != "clean":
		v.found(campaign.Misjudged, "C5", "nothing was changed, and verify says %s", v.row.verdict)
	case s.Missing && !v.how.ofDir:
		v.found(campaign.Misjudged, "C5", "a file was changed, and verify finds no log")
	case s.Corrupt && s.Verdict != damaged:
		v.found(campaign.Misjudged, "C5", "verify says %s, and open that it is damaged: %s", v.row.verdict, s.Open)
	case s.Open != "" && (v.how.keeps || !s.Corrupt && !v.named(s.Open) && !s.Missing):
		v.found(campaign.Misjudged, "C5", "afterwards it cannot be opened: %s", s.Open)
	case s.GoesOn != "":
		v.found(campaign.Stuck, "C5", "it does not go on: %s", s.GoesOn)
	}
}
