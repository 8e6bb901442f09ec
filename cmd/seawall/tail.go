//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// tailCount is how many records `seawall tail` writes if it is not told.
const tailCount = 10

// tailCommand returns `seawall tail`.
func tailCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "tail",
		Usage:     "write the last records, and follow a log",
		ArgsUsage: "DIR",
		Flags: []cli.Flag{
			numberFlag("count", "the last `N` records", tailCount, "10", "n"),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, DisableDefaultText: true, Usage: "and then each further one, as it is appended"},
			&cli.BoolFlag{Name: "durable", DisableDefaultText: true, Usage: "only what power loss cannot take"},
			&cli.StringFlag{Name: "format", Value: "raw", DefaultText: "raw", Usage: "write as `FORMAT`: raw, hex or json"},
			&cli.StringFlag{
				Name: "split", Value: splitLines, DefaultText: splitLines,
				Usage: "raw records end by `HOW`: lines, nul or len32",
			},
		},
		Description: tailText,
		Action:      p.tail,
	}
}

const tailText = `--format and --split are those of dump.

The log may have a writer in another process, or none; with --follow the
writer may come, die and come again. Of a log without a writer those
records are written that opening it would keep, and those are durable
that are proved to be.

With --follow it ends with SIGINT or SIGTERM, or when nobody reads its
output any more, which is exit code 0. Where records before the next one
are truncated as it reads, or some that were written are cut away again,
stderr says so, and it goes on with what there is.`

// tail runs `seawall tail`.
func (p *process) tail(c *cli.Context) error {
	dir, err := oneDir(c)
	if err != nil {
		return err
	}
	d, err := newDumping(p, c)
	if err != nil {
		return err
	}
	o, err := wal.OpenReader(dir)
	if err != nil {
		return err
	}
	t := &tailing{p: p, d: d, log: o, durable: c.Bool("durable"), follows: c.Bool("follow")}
	ctx := context.Background()
	if t.follows {
		signalled, stop := untilSignal()
		defer stop()
		read, unwatch := t.whileRead(signalled)
		defer unwatch()
		ctx = read
	}
	err = t.run(ctx, numberOf(c, "count"))
	verdict := o.Verdict()
	if cerr := o.Close(); err == nil {
		err = cerr
	}
	if d.ambiguous > 0 {
		p.say("%s", ambiguousText(d.ambiguous))
	}
	if err == nil && !t.follows && verdict == wal.Torn {
		p.say("%s", verdictWords(verdict))
		return verdictError(verdict)
	}
	return err
}

// tailing is one run of `seawall tail`.
type tailing struct {
	p       *process
	d       *dumping
	log     *wal.LogReader
	durable bool
	follows bool
	last    wal.LSN       // where it ends that does not follow
	writes  atomic.Uint64 // to stdout; odd while one is in progress
}

// errNobodyReads is why a context ends whose output nobody reads any more.
var errNobodyReads = errors.New("nobody reads the output any more")

// newest returns the first and the last of the log's last n records as of now.
func (t *tailing) newest(n uint64) (from, last wal.LSN) {
	from = t.log.FirstLSN() // the first of the two: a writer raises both
	last = t.log.LastLSN()
	if t.durable {
		last = t.log.DurableLSN()
	}
	if n == 0 || uint64(last) > n && last-wal.LSN(n)+1 > from {
		from = last + 1 - wal.LSN(n)
	}
	return from, last
}

// run writes the last n records, and further ones as long as it follows. Where it
// does not, it ends with the one that was the last when it began, whatever a
// writer appends at the same time; it begins again where that writer had truncated all of
// them before one was written.
func (t *tailing) run(ctx context.Context, n uint64) error {
	from, last := t.newest(n)
	for {
		t.last = last
		next, err := t.copy(ctx, from)
		switch {
		case errors.Is(err, wal.ErrTruncated) && !t.follows && next == from:
			from, last = t.newest(n)
			continue
		case errors.Is(err, wal.ErrTruncated):
			from = t.goOn(next)
			continue
		case errors.Is(err, errNobodyReads), isClosedPipe(err):
			return nil
		case isInterruption(err):
			// Nothing went wrong, and the sender of the signal knows of it.
			return &codeError{code: exitCode(err)}
		}
		return err
	}
}

// goOn returns where to go on when the record that was next, or the one before
// it, was truncated away.
func (t *tailing) goOn(next wal.LSN) wal.LSN {
	first, last := t.log.FirstLSN(), t.log.LastLSN()
	if next < first {
		t.p.say("the records before LSN %d were truncated away", first)
		return first
	}
	next = min(next, last+1)
	t.p.say("records that were written were cut away again; going on with LSN %d", next)
	return next
}

// copy writes the records from one on. It returns the next one's LSN, and why
// it ended.
func (t *tailing) copy(ctx context.Context, next wal.LSN) (wal.LSN, error) {
	r := t.log.Reader(next)
	if t.durable {
		r = r.Durable()
	}
	defer func() { _ = r.Close() }()
	for t.follows || next <= t.last {
		ok := r.Next()
		if !ok && r.Err() == nil {
			// All that there is goes out before it waits.
			if err := t.flush(); err != nil || !t.follows {
				return next, err
			}
			ok = r.Follow(ctx)
		}
		if !ok {
			err := ended(ctx, r.Err())
			return next, errors.Join(err, t.flush())
		}
		next = r.LSN() + 1
		// A buffer that is full is written, and that may wait.
		t.writes.Add(1)
		err := t.d.put(r.LSN(), r.Record())
		t.writes.Add(1)
		if err == nil {
			err = ended(ctx, nil)
		}
		if err != nil {
			return next, errors.Join(err, t.flush())
		}
	}
	var err error
	if t.log.Verdict() == wal.Damaged && !r.Next() {
		err = r.Err() // where the damage is
	}
	return next, errors.Join(err, t.flush())
}

// flush writes what is in the buffer.
func (t *tailing) flush() error {
	t.writes.Add(1)
	defer t.writes.Add(1)
	if err := t.d.out.Flush(); err != nil {
		return &writeError{err}
	}
	return nil
}

// hangTime is how long a write to stdout may wait behind a signal.
const hangTime = 200 * time.Millisecond

// whileRead returns a context that also ends when nobody reads the output any
// more, which a write would tell only with the next record. A signal that comes
// while a write waits for its reader ends the process where it stands.
func (t *tailing) whileRead(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(t.p.out.Fd())}} // errors are told unasked
			if n, err := unix.Poll(fds, 100); n > 0 && err == nil && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				cancel(errNobodyReads)
			}
		}
	}()
	unwatch := context.AfterFunc(parent, func() {
		write := t.writes.Load()
		time.Sleep(hangTime)
		if write%2 == 1 && write == t.writes.Load() {
			os.Exit(exitCode(context.Cause(parent)))
		}
	})
	return ctx, func() {
		unwatch()
		cancel(nil)
	}
}

// isInterruption reports whether a signal is why.
func isInterruption(err error) bool {
	var stop *interruption
	return errors.As(err, &stop)
}
