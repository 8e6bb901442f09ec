//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/wal"
)

// verifyCommand returns `seawall verify`.
func verifyCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "read all of a log and verify it",
		ArgsUsage: "DIR",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "device", DisableDefaultText: true, Usage: "read what the device holds, around the page cache"},
			jsonFlag(),
		},
		Description: "Checks every checksum, link and checkpoint, and writes nothing. The exit\n" +
			"code is the verdict. A log that is being written may be verified too: a\n" +
			"record that is being written is not torn, and a segment that is truncated\n" +
			"at the same time is not missing.\n\n" +
			"A short file is read up to its end, and all around a block that cannot\n" +
			"be read. What was lost there is reported as LSNs; \"unknown\":true in a\n" +
			"\"damage\" of --json says that the number of further ones is unknown.\n\n" +
			"What is read is what readers are served, from the page cache. After a\n" +
			"failed write the device may hold less: --device tells. Records that\n" +
			"were appended and never synced need not be on the device; a log that\n" +
			"nobody has open may then look torn. Where the filesystem has no such\n" +
			"reads, a warning says so.",
		Action: p.reporting(p.verify),
	}
}

// verify runs `seawall verify`.
func (p *process) verify(c *cli.Context) (reporter, error) {
	dir, err := oneDir(c)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilSignal()
	defer stop()
	bar := newBar(p, "verifying")
	faults, begin := faultCounts(), time.Now()
	rep, err := wal.VerifyWith(dir, wal.VerifyOptions{Context: ctx, Progress: bar.set, Device: c.Bool("device")})
	took := time.Since(begin)
	bar.clear()
	if err != nil {
		return nil, &elsewhereError{ended(ctx, err)}
	}
	now := faultCounts()
	r := &verifyReport{
		Dir: dir, UUID: rep.UUID.String(), Verdict: rep.Verdict, Live: rep.Live,
		FirstLSN: rep.FirstLSN, LastLSN: rep.LastLSN, Records: rep.Records, DurableLSN: rep.DurableLSN,
		TornBytes: rep.TornBytes, Behind: rep.Behind, Damage: rep.Damage, Bytes: rep.Bytes, Seconds: took.Seconds(),
		Device: c.Bool("device"), BufferedBytes: rep.BufferedBytes,
		MinorFaults: now.minor - faults.minor, MajorFaults: now.major - faults.major,
		Warnings: rep.Warnings, Segments: rep.Segments,
	}
	return r, verdictError(rep.Verdict)
}

// verdictError returns the exit code for a verdict that the report has told.
func verdictError(v wal.Verdict) error {
	switch v {
	case wal.Torn:
		return &codeError{code: exitTorn}
	case wal.Damaged:
		return &codeError{code: exitDamaged}
	}
	return nil
}

// verifyReport is what verify says.
type verifyReport struct {
	outcome
	Dir           string            `json:"dir"`
	UUID          string            `json:"uuid"`
	Verdict       wal.Verdict       `json:"verdict"`
	Live          bool              `json:"live"`
	FirstLSN      wal.LSN           `json:"first_lsn"`
	LastLSN       wal.LSN           `json:"last_lsn"` // first_lsn - 1 where there is no record
	Records       uint64            `json:"records"`
	DurableLSN    wal.LSN           `json:"durable_lsn"`
	TornBytes     int64             `json:"torn_bytes"`
	Behind        []wal.Range       `json:"behind,omitempty"` // intact, behind the last record
	Damage        []wal.Damage      `json:"damage"`
	Bytes         int64             `json:"bytes"`
	Device        bool              `json:"device"`         // the bytes were to come from the device
	BufferedBytes int64             `json:"buffered_bytes"` // of them, came from the page cache all the same
	Seconds       float64           `json:"seconds"`
	MinorFaults   int64             `json:"minor_faults"`
	MajorFaults   int64             `json:"major_faults"`
	Warnings      []string          `json:"warnings,omitempty"`
	Segments      []wal.SegmentInfo `json:"segments"`
}

// print writes the report to stdout.
func (r *verifyReport) print(p *process) error {
	var t table
	t.add("verdict", foundWords(r.Verdict, r.FirstLSN, r.LastLSN, r.DurableLSN, r.Damage))
	t.add("log", r.UUID)
	t.add("records", recordsText(r.Records, r.FirstLSN, r.LastLSN))
	if r.Records > 0 || r.DurableLSN > r.LastLSN {
		t.add("durable", durableText(r.DurableLSN, r.FirstLSN, r.LastLSN))
	}
	if r.Live {
		t.add("writer", "a process has the log open and may append")
	}
	t.add("segments", segmentsText(r.Segments))
	t.behind(r.Verdict, r.TornBytes, r.Behind)
	from := ""
	if r.Device && r.BufferedBytes == 0 {
		from = " from the device"
	}
	t.add("read", fmt.Sprintf("%s%s in %s, %s/s", bytesText(r.Bytes), from, seconds(r.Seconds),
		bytesText(int64(perSecond(float64(r.Bytes), r.Seconds)))))
	t.add("faults", fmt.Sprintf("%s minor, %s major", count(r.MinorFaults), count(r.MajorFaults)))
	for _, w := range r.Warnings {
		t.add("warning", w)
	}
	t.damage(r.Damage)
	switch r.Verdict {
	case wal.Torn:
		t.add("next", "append trims the tail when it opens the log, and so does")
		t.add("", "seawall repair "+shellWord(r.Dir))
	case wal.Damaged:
		t.add("next", "restore the log from a copy; or save what is intact with")
		t.add("", "seawall dump --extract "+shellWord(r.Dir))
		t.add("", "and cut the log at the damage (what is cut is saved) with")
		t.add("", "seawall repair --force "+shellWord(r.Dir))
	}
	return t.print(p.out)
}

// verdictWords returns a verdict in a sentence that begins with its name.
func verdictWords(v wal.Verdict) string {
	switch v {
	case wal.Torn:
		return "torn: a crash left a tail; nothing acknowledged is lost"
	case wal.Damaged:
		return "damaged: acknowledged records are lost or altered"
	}
	return "clean: every record is intact"
}

// foundWords is verdictWords with what is known: that the records of a clean log
// are intact says not that there were no others, and damage may have cost none.
func foundWords(v wal.Verdict, first, last, durable wal.LSN, damage []wal.Damage) string {
	switch {
	case v == wal.Damaged:
		return damagedWords(last, durable, damage)
	case v == wal.Torn || durable >= last:
		return verdictWords(v)
	case durable < first:
		return "clean: what is there is intact; nothing proves that it is all"
	}
	return fmt.Sprintf("clean: what is there is intact; up to LSN %d it is proved to be all", durable)
}

// damagedWords returns what damage has cost.
func damagedWords(last, durable wal.LSN, damage []wal.Damage) string {
	switch {
	case durable > last || slices.ContainsFunc(damage, func(d wal.Damage) bool { return d.FirstLSN != 0 }):
		return verdictWords(wal.Damaged)
	case slices.ContainsFunc(damage, func(d wal.Damage) bool { return d.Unknown }):
		return "damaged: records may be lost, and it is unknown how many"
	}
	return "damaged: no record is known to be lost"
}

// recordsText returns how many records there are, and which.
func recordsText(n uint64, first, last wal.LSN) string {
	if n == 0 {
		return fmt.Sprintf("none; the next one is LSN %d", last+1)
	}
	return fmt.Sprintf("%s, LSN %d to %d", count(n), first, last)
}

// durableText returns up to where records are proved to be durable.
func durableText(durable, first, last wal.LSN) string {
	switch {
	case durable > last:
		return fmt.Sprintf("up to LSN %d, which is more than there are", durable)
	case durable == last:
		return "all of them"
	case durable < first:
		return "none is proved to be"
	}
	return fmt.Sprintf("up to LSN %d, as far as it is proved", durable)
}

// segmentsText returns how many segments there are, by what they are.
func segmentsText(segments []wal.SegmentInfo) string {
	var states []string
	counts := make(map[string]int)
	for _, s := range segments {
		if counts[s.State]++; counts[s.State] == 1 {
			states = append(states, s.State)
		}
	}
	for i, s := range states {
		states[i] = fmt.Sprintf("%d %s", counts[s], s)
	}
	return strings.Join(states, ", ")
}

// faults are a process's page faults.
type faults struct{ minor, major int64 }

// faultCounts returns the page faults of this process until now.
func faultCounts() faults {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return faults{}
	}
	return faults{minor: int64(u.Minflt), major: int64(u.Majflt)} //nolint:unconvert // int32 on some machines
}

// bar is a progress bar on stderr, and nothing where that is no terminal.
type bar struct {
	p    *process
	what string
	bar  *progressbar.ProgressBar
}

// newBar returns a bar that appears with the first progress.
func newBar(p *process, what string) *bar {
	return &bar{p: p, what: what}
}

// set shows how much is done.
func (b *bar) set(done, total int64) {
	if b.bar == nil {
		if !isTerminal(b.p.err) || total == 0 {
			return
		}
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.p.err), progressbar.OptionSetDescription(b.what),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true),
			progressbar.OptionSetWidth(20), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	_ = b.bar.Set64(done) // there is nobody to tell that the bar failed
}

// clear takes the bar away.
func (b *bar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
