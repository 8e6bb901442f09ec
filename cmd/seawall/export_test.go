//go:build linux

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/experiment"
	"github.com/seawall-wal/seawall/wal"
)

// The seams for the tests of package main_test.

// BeChild is beChild.
func BeChild() { beChild() }

// Main is the program.
func Main() { main() }

// MainPlanted is the program, whose campaigns are about a subject of a test's own.
func MainPlanted(s campaign.Subject) {
	beChild()
	p := &process{in: os.Stdin, out: os.Stdout, err: os.Stderr, planted: []campaign.Subject{s}}
	os.Exit(p.run(os.Args))
}

// Run runs the command in this process, and returns the exit code.
func Run(in, out, err *os.File, args ...string) int {
	p := &process{in: in, out: out, err: err}
	return p.run(append([]string{"seawall"}, args...))
}

// RunWith is Run with one more subcommand.
func RunWith(in, out, err *os.File, extra *cli.Command, args ...string) int {
	p := &process{in: in, out: out, err: err}
	app := newApp(p)
	app.Commands = append(app.Commands, extra)
	return p.runApp(app, append([]string{"seawall"}, args...))
}

// NewTalk is newTalk.
func NewTalk(stderr *os.File) *slog.Logger { return newTalk(&process{err: stderr}) }

// Arrange arranges arguments behind the program's name.
func Arrange(args ...string) []string {
	return arrange(newApp(&process{}), append([]string{"seawall"}, args...))[1:]
}

// AsksForJSON is asksForJSON.
func AsksForJSON(args ...string) bool { return asksForJSON(append([]string{"seawall"}, args...)) }

// Splitter is splitter.
type Splitter struct{ s splitter }

// NewSplitter returns a splitter by its name, or the one of --file.
func NewSplitter(name string, limit int64) Splitter {
	if name == "whole" {
		return Splitter{&whole{name: "FILE", part: part{limit: limit}}}
	}
	s, err := newSplitter(name, limit)
	if err != nil {
		panic(err)
	}
	return Splitter{s}
}

// Feed, End and Unfinished are the splitter's.
func (s Splitter) Feed(p []byte, emit func([]byte) error) error { return s.s.feed(p, emit) }
func (s Splitter) End(emit func([]byte) error) error            { return s.s.end(emit) }
func (s Splitter) Unfinished() int64                            { return s.s.unfinished() }

// Acks is acks.
type Acks struct{ a *acks }

// NewAcks returns acks that have been started.
func NewAcks(w io.Writer, every bool, last wal.LSN) Acks {
	a := newAcks(w, every)
	a.start(last)
	return Acks{a}
}

// SetLate sets what says that the patience with who reads the acks is over.
func (a Acks) SetLate(late func() <-chan time.Time) { a.a.late = late }

// Note and Close are the acks'; Dead is closed when a write has failed.
func (a Acks) Note(lsn wal.LSN)                { a.a.note(lsn) }
func (a Acks) Close(hurry chan struct{}) error { return a.a.close(hurry) }
func (a Acks) Dead() chan struct{}             { return a.a.dead }
func (a Acks) Last() wal.LSN                   { return a.a.last() }

// ExperimentCode returns the exit code for a number of verdicts of each kind.
func ExperimentCode(expected, differing, impossible int) int {
	r := &experimentReport{}
	for verdict, n := range map[experiment.Verdict]int{
		experiment.AsExpected: expected, experiment.Differs: differing, experiment.CannotRun: impossible,
	} {
		for range n {
			r.add(&experiment.Result{Verdict: verdict})
		}
	}
	return exitCode(r.code())
}

// Texts and sizes.
var (
	ErrAcksBlocked = errAcksBlocked
	ParseSize      = parseSize
	BytesText      = bytesText
	Seconds        = seconds
	ShellWord      = shellWord
	BreakLines     = breakLines
	ExplainError   = explain
	ExitCode       = exitCode
)

// Count is count.
func Count(n int64) string { return count(n) }

// InputChunk is what one read asks for.
const InputChunk = inputChunk

// Input is input.
type Input struct{ in *input }

// OpenInput returns an input of a file that has been started.
func OpenInput(name string, pauses bool) (Input, error) {
	in, err := openInput(name)
	if err == nil {
		in.pauses = pauses
		in.start()
	}
	return Input{in}, err
}

// OpenBrokenInput is OpenInput for an input whose buffers are too small.
func OpenBrokenInput(name string) (Input, error) {
	in, err := openInput(name)
	if err == nil {
		<-in.free
		<-in.free
		in.free <- nil
		in.start()
	}
	return Input{in}, err
}

// Stop is the input's.
func (i Input) Stop() { i.in.stop() }

// Chunk is what one read brought.
type Chunk struct {
	Data  string
	Pause bool
	Err   error
}

// Chunks returns a channel of the input's chunks.
func (i Input) Chunks() chan Chunk {
	ch := make(chan Chunk)
	go func() {
		defer close(ch)
		for c := range i.in.chunks {
			ch <- Chunk{string(c.data), c.pause, c.err}
			if c.data != nil {
				i.in.free <- c.data
			}
		}
	}()
	return ch
}

// Feed appends the lines of a file to a log that syncs each, until the context is
// done, and has so long for what had been read by then. It returns how many records
// it appended, and how many it left.
func Feed(ctx context.Context, l *wal.Log, in *os.File, batch int, patience time.Duration) (records, left uint64, unfinished int64, err error) {
	i, err := newInput(int(in.Fd()), "pipe")
	if err != nil {
		return 0, 0, 0, err
	}
	split, err := newSplitter(splitLines, l.MaxRecordBytes())
	if err != nil {
		return 0, 0, 0, err
	}
	f := &feeder{log: l, in: i, split: split, unit: "line", keep: newKeeper(l, 0, 0), batch: batch, each: true, patience: patience}
	err = f.run(ctx)
	return f.records, f.left, f.unfinished(), err
}

// Columns is columns.
var Columns = columns
