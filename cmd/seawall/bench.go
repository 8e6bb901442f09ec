//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/cmd/seawall/internal/bench"
)

// benchCommand returns `seawall bench`.
func benchCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "bench",
		Usage:     "measure the log beside bare work",
		ArgsUsage: "DIR",
		Flags: []cli.Flag{
			numberFlag("writers", "`N` goroutines append at once", 1, "1"),
			&cli.StringFlag{Name: "size", Value: "100", DefaultText: "100 bytes", Usage: "records have this `SIZE`"},
			&cli.StringFlag{
				Name: "sync", Value: "each", DefaultText: "each",
				Usage: "sync `WHEN`: each, manual or DURATION",
			},
			&cli.DurationFlag{
				Name: "duration", Value: 200 * time.Millisecond, DefaultText: "200ms",
				Usage: "measure for `TIME` in each run",
			},
			numberFlag("runs", "let each have its turn `N` times", 5, "5"),
			&cli.DurationFlag{
				Name: "warmup", Value: 50 * time.Millisecond, DefaultText: "50ms",
				Usage: "run for `TIME` before each run",
			},
			&cli.StringFlag{
				Name: "limit", DefaultText: "two segments",
				Usage: "end a run that has appended this `SIZE`",
			},
			&cli.StringFlag{
				Name: "segment-size", Value: "64MiB", DefaultText: "64MiB",
				Usage: "the log's segments have this `SIZE`",
			},
			jsonFlag(),
		},
		Description: benchText,
		Action:      p.reporting(p.bench),
	}
}

const benchText = `Measures, in turn and in a new directory below DIR that is removed at
the end, a fresh log and the bare work that bounds it. The ratio is the
time of a record of the log by that of the bare work in the same run: the
median, the smallest and the largest of the runs. 1 is as fast.

--sync   each is measured against pwrite and fdatasync into a written
         file, and store and msync into a ready mapping; with several
         writers against a group commit around pwrite and fdatasync.
         manual, and DURATION, which is synced in the background, are
         measured against a checksum and copy into a ready mapping.
--limit  bounds the disk that a run takes. By default a run without syncs
         is over when about those segments are full that the log has
         ready. With a larger one the filling of new segments is
         measured too.

Latency is of each append with --sync each, otherwise of one in 32: then
"stretch" is the longest time that 32 appends in a row took. Dirtied is
what the process made the page cache write, a page as soon as it is
dirty. Device is what the disk wrote meanwhile, for everybody. Calls are
read and write calls; syncs are counted by the log or the loop itself;
other system calls are not counted.

It is too noisy to tell where the bare work itself spreads by more than
a quarter over the runs, or others take more than a fifth of the
processors. The exit code is 0 then too.`

// bench runs `seawall bench`.
func (p *process) bench(c *cli.Context) (reporter, error) {
	config, err := newBench(c)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilSignal()
	defer stop()
	r, err := bench.Run(ctx, config)
	if ctx.Err() != nil && errors.Is(err, bench.ErrLeft) {
		p.say("%s", explain(err)) // the signal's words do not tell it
	}
	if err != nil {
		return nil, ended(ctx, err)
	}
	return &benchReport{Result: r}, nil
}

// newBench reads the arguments.
func newBench(c *cli.Context) (b bench.Config, err error) {
	if b.Dir, err = oneDir(c); err != nil {
		return b, err
	}
	if b.Sync, err = parseSync(c.String("sync")); err != nil {
		return b, err
	}
	size, err := parseSize(c.String("size"))
	if err != nil {
		return b, usage("--size: %w", err)
	}
	if b.SegmentBytes, err = parseSize(c.String("segment-size")); err != nil {
		return b, usage("--segment-size: %w", err)
	}
	if c.IsSet("limit") {
		if b.Limit, err = parseSize(c.String("limit")); err != nil {
			return b, usage("--limit: %w", err)
		}
	}
	b.Size = int(min(size, math.MaxInt))
	b.Writers = int(min(numberOf(c, "writers"), math.MaxInt))
	b.Runs = int(min(numberOf(c, "runs"), math.MaxInt))
	b.Duration, b.Warmup = c.Duration("duration"), c.Duration("warmup")
	return b, nil
}

// benchReport is what bench says.
type benchReport struct {
	outcome
	*bench.Result
}

// print implements reporter.
func (r *benchReport) print(p *process) error {
	var t table
	for i, ratio := range r.Ratios {
		t.add("ratio", fmt.Sprintf("%.2f (%.2f to %.2f in %s): log to %s",
			ratio.Median, ratio.Min, ratio.Max, plural(uint64(r.Runs), "run"), ratio.Limit))
		t.add("", ratio.Limit+": "+r.Limits[i].What)
	}
	if r.Noisy {
		t.add("noisy", "too noisy to tell: "+r.NoisyReason)
	}
	t.add("work", fmt.Sprintf("%s, %s of %d bytes, %s appended, %s", r.Log.What, plural(uint64(r.Log.Records), "record"),
		r.RecordBytes, "by "+plural(uint64(r.Writers), "writer"), "the last log verified"))
	t.add("machine", fmt.Sprintf("Linux %s, %s, %s, %s, %s", r.Machine.Kernel, plural(uint64(r.Machine.Cores), "core"),
		r.Machine.Filesystem, r.Machine.Go, r.Machine.Date.Format(time.RFC3339)))
	all := append([]bench.Measured{r.Log}, r.Limits...)
	t.lines = append(append(t.lines, ""), r.speed(all)...)
	t.lines = append(append(t.lines, ""), perRecord(all)...)
	t.lines = append(t.lines, "")
	t.add("young", fmt.Sprintf("%s a record for the first %d after Open, by one writer", nanos(r.Young.NSPerRecord), r.Young.Records))
	if r.SampleEvery > 1 {
		t.add("latency", fmt.Sprintf("of one append in %d; a look at the clock, %s, is in it", r.SampleEvery, nanos(r.ClockNS)))
	}
	if r.SegmentWaits > 0 {
		t.add("waits", fmt.Sprintf("%s for a segment, in %s: the disk fills new ones more slowly than records come",
			plural(r.SegmentWaits, "wait"), plural(r.Rotations, "rotation")))
	}
	if limited := r.Log.EndedByLimit; limited > 0 {
		t.add("limit", fmt.Sprintf("%s of the log ended at %s, before the time was over",
			plural(uint64(limited), "run"), bytesText(r.LimitBytes)))
	}
	return t.print(p.out)
}

// speed returns the table of throughput and latency.
func (r *benchReport) speed(all []bench.Measured) []string {
	head := []string{"", "records/s", "MB/s", "p50", "p90", "p99", "p99.9", "max"}
	if r.SampleEvery > 1 {
		head = append(head, "stretch")
	}
	var rows [][]string
	for _, m := range all {
		l := m.Latency
		row := []string{m.Name, count(int64(m.RecordsPerSecond)), decimals(m.BytesPerSecond / 1e6)}
		for _, v := range []int64{l.P50, l.P90, l.P99, l.P999, l.Max, l.Longest}[:len(head)-3] {
			row = append(row, nanos(float64(v)))
		}
		rows = append(rows, row)
	}
	return columns(head, rows)
}

// perRecord returns the table of what is counted.
func perRecord(all []bench.Measured) []string {
	known := func(v *float64) string {
		if v == nil {
			return "unknown"
		}
		return decimals(*v)
	}
	var rows [][]string
	for _, m := range all {
		n, together := m.PerRecord, "no sync"
		if m.RecordsPerSync != nil {
			together = decimals(*m.RecordsPerSync)
		}
		rows = append(rows, []string{
			m.Name, known(n.DirtiedBytes), known(n.DeviceBytes), known(n.ReadWriteCalls), decimals(n.SyncCalls),
			decimals(n.MinorFaults), decimals(n.MajorFaults), together,
		})
	}
	return columns([]string{"a record", "dirtied", "device", "calls", "syncs", "minor", "major", "records/sync"}, rows)
}

// nanos returns nanoseconds for people, to three digits.
func nanos(ns float64) string { return seconds(ns / 1e9) }

// decimals returns a number to three digits, and none behind the point of large ones.
func decimals(v float64) string {
	switch {
	case v >= 100:
		return count(int64(math.Round(v)))
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	text := strings.TrimRight(fmt.Sprintf("%.4f", v), "0")
	return strings.TrimSuffix(text, ".")
}
