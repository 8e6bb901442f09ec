//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/wal"
)

// appendCommand returns `seawall append`.
func appendCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "append",
		Usage:     "append records from stdin; creates the log",
		ArgsUsage: "DIR",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "split", Value: splitLines, DefaultText: splitLines,
				Usage: "records end by `HOW`: lines, nul or len32",
			},
			&cli.StringFlag{Name: "file", Usage: "append `FILE` as one record; - is stdin"},
			&cli.StringFlag{
				Name: "sync", Value: "100ms", DefaultText: "100ms",
				Usage: "sync `WHEN`: each, manual or DURATION",
			},
			numberFlag("batch", "make up to `N` records one atomic unit", 1, "1"),
			&cli.BoolFlag{Name: "ack", DisableDefaultText: true, Usage: "print a line once records are durable"},
			&cli.StringFlag{
				Name:  "keep",
				Usage: "keep the newest `SIZE` of records, truncate those before",
			},
			&cli.StringFlag{
				Name: "segment-size", Value: "64MiB", DefaultText: "64MiB",
				Usage: "new segments have this `SIZE`",
			},
			jsonFlag(),
		},
		Description: appendText,
		Action:      p.reporting(p.append),
	}
}

const appendText = `Appends a record as soon as its end has been read, and makes all of them
durable at the end of the input.

--split  lines: a record is a line, without its newline; a last line
         needs none. nul: the same with NUL bytes. len32: each record
         follows its length, a big-endian 32-bit number. Records come
         back byte for byte, whatever they hold. One that is larger than
         the limit, which is a little less than the segment size, ends
         the command; those before it are kept.
--sync   each: one sync a record, or a batch. DURATION: in the
         background, that long after a record at most. manual: at the
         end.
--batch  after a crash all of a batch is there or none. A batch ends
         early when no more input is there to be read, and when it fills
         a segment.
--ack    "acked N" on stdout says that all records up to N survive power
         loss. With --sync each there is a line for each record,
         otherwise a line may stand for several. When nobody reads them,
         the command ends as after a signal, with exit code 3. With
         --json, the object comes last.
--keep   the log's front is truncated behind the append: at least SIZE of
         the newest segments stay, and older ones are removed, whole. The
         records before what stays are gone for good.
--segment-size  64KiB to 4GiB. The log's older segments keep theirs.

SIGINT and SIGTERM: what was read is made durable, and the summary says
up to where. A record whose end was not read is not appended. Where the
log takes more than 3 s for the rest, as on a full disk, no more of it is
appended, and what is left is counted. A second signal ends the command
at once.`

// appending is one run of `seawall append`.
type appending struct {
	dir   string
	split string
	file  string
	batch int
	ack   bool
	keep  int64 // 0: everything
	opts  wal.Options
}

// append runs `seawall append`.
func (p *process) append(c *cli.Context) (reporter, error) {
	a, err := newAppending(c)
	if err != nil {
		return nil, err
	}
	a.opts.Logger = newTalk(p)
	in, err := p.openInput(a.file)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilSignal()
	defer stop()
	r, err := a.run(ctx, p, in)
	if r == nil {
		return nil, err
	}
	return r, err
}

// newAppending reads the arguments.
func newAppending(c *cli.Context) (*appending, error) {
	a := &appending{split: c.String("split"), file: c.String("file"), ack: c.Bool("ack")}
	var err error
	if a.dir, err = oneDir(c); err != nil {
		return nil, err
	}
	if _, err = newSplitter(a.split, 0); err != nil {
		return nil, err
	}
	if a.opts.Sync, err = parseSync(c.String("sync")); err != nil {
		return nil, err
	}
	if a.opts.SegmentBytes, err = parseSize(c.String("segment-size")); err != nil {
		return nil, usage("--segment-size: %w", err)
	}
	if c.IsSet("keep") {
		if a.keep, err = parseSize(c.String("keep")); err != nil {
			return nil, usage("--keep: %w", err)
		}
	}
	batch := numberOf(c, "batch")
	switch a.batch = int(min(batch, math.MaxInt)); { // more fit into no segment
	case batch < 1:
		return nil, usage("--batch %d: it is at least 1", batch)
	case c.IsSet("file") && a.file == "":
		return nil, usage("--file: the file's name is empty")
	case a.file != "" && c.IsSet("split"):
		return nil, usage("--file makes one record of the file: --split cannot be combined with it")
	case a.file != "" && c.IsSet("batch"):
		return nil, usage("--file makes one record of the file: --batch cannot be combined with it")
	}
	return a, nil
}

// parseSync returns the policy that --sync names.
func parseSync(s string) (wal.SyncPolicy, error) {
	switch s {
	case "each":
		return wal.SyncEach, nil
	case "manual":
		return wal.SyncManual, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return wal.SyncManual, usage("--sync %s: it is each, manual or a duration like 100ms", s)
	}
	return wal.SyncEvery(d), nil
}

// openInput returns the input of append: stdin, or the file of --file.
func (p *process) openInput(file string) (*input, error) {
	if file != "" && file != "-" {
		return openInput(file)
	}
	if isTerminal(p.in) && isTerminal(p.err) {
		p.say("reading records from the terminal; Ctrl-D ends them")
	}
	return newInput(int(p.in.Fd()), "stdin")
}

// run appends the input to the log and reports what it did, also where it
// fails: then with the error. There is no report where the log was not opened.
func (a *appending) run(ctx context.Context, p *process, in *input) (*appendReport, error) {
	each := a.opts.Sync == wal.SyncEach
	var said *acks
	if a.ack {
		said = newAcks(p.out, each)
		a.opts.OnDurable = said.note
	}
	l, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	begin, first := time.Now(), l.LastLSN()+1
	in.pauses = a.batch > 1
	f := &feeder{
		log: l, in: in, acks: said, unit: "record", batch: a.batch, each: each,
		keep: newKeeper(l, a.keep, a.opts.SegmentBytes), patience: feedPatience,
	}
	if a.file == "" && a.split == splitLines {
		f.unit = "line"
	}
	if said != nil {
		said.start(l.LastLSN())
	}
	err = a.feed(ctx, f)
	if kerr := f.keep.end(); kerr != nil && err == nil {
		err = kerr
	}
	// Close makes a checkpoint, whatever the policy.
	if cerr := l.Close(); cerr != nil && !errors.Is(err, wal.ErrPoisoned) {
		err = besides(cerr, err)
	}
	if said != nil {
		err = a.closeAcks(ctx, p, said, err)
	}
	return &appendReport{
		Records: f.records, FirstLSN: first, LastLSN: l.LastLSN(), DurableLSN: l.DurableLSN(),
		Bytes: f.size, Kept: l.FirstLSN(), Seconds: time.Since(begin).Seconds(), Syncs: l.Stats().Syncs,
		Left: f.left, unfinished: f.unfinished(), keeps: a.keep > 0,
	}, err
}

// open opens the log, which may take its time: a signal ends the command all the
// same. It leaves the opening where it stands, as a crash would, which is harmless at
// any point.
func (a *appending) open(ctx context.Context) (*wal.Log, error) {
	var l *wal.Log
	opened := make(chan error, 1)
	go func() {
		var err error
		l, err = wal.Open(a.dir, a.opts)
		opened <- err
	}()
	select {
	case err := <-opened:
		return l, err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w while the log was being opened: nothing was read, and no record appended", context.Cause(ctx))
	}
}

// besides returns a failure and what had ended the append before it. The exit
// code is that of the failure.
func besides(failure, before error) error {
	if before == nil {
		return failure
	}
	return fmt.Errorf("%w; before: %v", failure, before) //nolint:errorlint // hides its code
}

// feed appends the input.
func (a *appending) feed(ctx context.Context, f *feeder) error {
	limit := f.log.MaxRecordBytes()
	if a.file == "" {
		f.split, _ = newSplitter(a.split, limit) // the name was checked
		return f.run(ctx)
	}
	f.split = &whole{name: f.in.name, part: part{limit: limit}}
	if n := f.in.size(); n > limit {
		return &tooLargeError{f.in.name, n, limit}
	}
	return f.run(ctx)
}

// closeAcks waits for the last acks to be written. err is what ended the
// append, and is returned, with what the acks add to it.
func (a *appending) closeAcks(ctx context.Context, p *process, said *acks, err error) error {
	aerr := said.close(ctx.Done())
	switch {
	case errors.Is(aerr, errAcksBlocked):
		p.say("the acks behind LSN %d were not read", said.last())
		return err
	case aerr == nil || errors.Is(err, aerr):
		return err
	case err == nil:
		return aerr
	}
	return besides(err, aerr)
}

// appendReport is what append says at its end.
type appendReport struct {
	outcome
	Records    uint64  `json:"records"`
	FirstLSN   wal.LSN `json:"first_lsn"`
	LastLSN    wal.LSN `json:"last_lsn"` // first_lsn - 1 where nothing was appended
	DurableLSN wal.LSN `json:"durable_lsn"`
	Bytes      uint64  `json:"bytes"` // in the records
	Kept       wal.LSN `json:"log_first_lsn"`
	Seconds    float64 `json:"seconds"`
	Syncs      uint64  `json:"syncs"`
	Left       uint64  `json:"not_appended,omitempty"` // read, but the log took too long for them

	unfinished int64 // bytes that were read and are in no record
	keeps      bool  // --keep was given
}

// print writes the summary to stderr.
func (r *appendReport) print(p *process) error {
	var b strings.Builder
	switch r.Records {
	case 0:
		fmt.Fprintf(&b, "no records appended; the log ends at LSN %d", r.LastLSN)
	case 1:
		fmt.Fprintf(&b, "1 record appended: LSN %d", r.LastLSN)
	default:
		fmt.Fprintf(&b, "%s records appended: LSN %d to %d", count(r.Records), r.FirstLSN, r.LastLSN)
	}
	switch {
	case r.Records == 0 && r.DurableLSN >= r.LastLSN:
	case r.DurableLSN >= r.LastLSN:
		b.WriteString(", durable")
	default:
		fmt.Fprintf(&b, ", durable up to LSN %d only", r.DurableLSN)
	}
	if r.Records > 0 {
		fmt.Fprintf(&b, "\n%s in %s: %s records/s, %s/s, %s",
			bytesText(int64(r.Bytes)), seconds(r.Seconds), count(uint64(perSecond(float64(r.Records), r.Seconds))),
			bytesText(int64(perSecond(float64(r.Bytes), r.Seconds))), plural(r.Syncs, "sync"))
	}
	if r.Kept > 1 && r.keeps {
		fmt.Fprintf(&b, "\nthe log begins with LSN %d now", r.Kept)
	}
	if r.Left > 0 {
		fmt.Fprintf(&b, "\n%s that had been read were not appended: the log took more than %s for those before",
			plural(r.Left, "record"), feedPatience)
	}
	if r.unfinished > 0 {
		fmt.Fprintf(&b, "\n%s of an unfinished record were read and not appended", plural(uint64(r.unfinished), "byte"))
	}
	p.say("%s", b.String())
	return nil
}
