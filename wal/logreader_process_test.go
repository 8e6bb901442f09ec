package wal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/wal"
)

// besideReader is the environment variable that makes the test binary a reader:
// what it does and the directory, separated by a comma. It ends when its
// standard input does, and prints what it saw.
const besideReader = "SEAWALL_TEST_READER"

// sightings is what a reader process saw.
type sightings struct {
	Records   int    `json:"records"`
	Truncated int    `json:"truncated"`
	NotFound  int    `json:"not_found"`
	Last      uint64 `json:"last"`
	Error     string `json:"error"`

	dir    string
	enough bool
}

// truncated counts a cut that the reader came upon, and says so once it has read
// something, too.
func (s *sightings) truncated() {
	s.Truncated++
	s.saw(s.Records > 0)
}

// saw says, once, that the reader has seen what there is to be seen.
func (s *sightings) saw(enough bool) {
	if enough && !s.enough {
		s.enough = true
		fmt.Println(sawBoth)
	}
}

// runBesideReader reads until standard input ends.
func runBesideReader(s string) int {
	kind, dir, _ := strings.Cut(s, ",")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	seen := sightings{dir: dir}
	o, err := wal.OpenReader(dir)
	if err == nil {
		err = besideReaders[kind](ctx, o, &seen)
	}
	if err == nil {
		err = o.Close()
	}
	if err != nil {
		seen.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil || seen.Error != "" {
		return 1
	}
	return 0
}

// besideReaders are the kinds of readers.
var besideReaders = map[string]func(context.Context, *wal.LogReader, *sightings) error{
	"follow": func(ctx context.Context, o *wal.LogReader, s *sightings) error {
		return s.follow(ctx, func() *wal.Reader { return o.Reader(0) })
	},
	"durable": func(ctx context.Context, o *wal.LogReader, s *sightings) error {
		return s.follow(ctx, func() *wal.Reader { return o.Reader(0).Durable() })
	},
	"get":    besideGet,
	"again":  besideAgain,
	"reopen": besideReopen,
}

// sawBoth is what a process says that came upon records and cuts.
const sawBoth = `"both"`

// sayAt is how many records a process that follows has to have read, in one run,
// to say so.
const sayAt = 300

// follow follows, and begins again where the reader's place was cut.
func (s *sightings) follow(ctx context.Context, reader func() *wal.Reader) error {
	for {
		r := reader()
		var run succession
		var err error
		for err == nil && r.Follow(ctx) {
			err = run.add(r.LSN(), r.Record())
			if run.records == sayAt {
				fmt.Println(sayAt)
			}
		}
		s.Records += run.records
		s.Last = uint64(run.lsn)
		err = errors.Join(err, r.Close())
		switch {
		case errors.Is(err, wal.ErrTruncated):
			s.truncated()
		case err != nil || ctx.Err() != nil:
			return err
		}
	}
}

// besideGet gets records at random.
func besideGet(ctx context.Context, o *wal.LogReader, s *sightings) error {
	rng := newRand(1)
	for ctx.Err() == nil {
		first, last := o.FirstLSN(), o.LastLSN()
		lsn := first + wal.LSN(rng.Uint64N(uint64(max(first, last)-first+1)))
		p, err := o.Get(lsn)
		switch {
		case errors.Is(err, wal.ErrTruncated):
			s.truncated()
			continue
		case errors.Is(err, wal.ErrNotFound):
			s.NotFound++
			continue
		case err == nil:
			_, err = generationOf(lsn, p)
		}
		if err != nil {
			return err
		}
		s.Records++
	}
	return nil
}

// besideAgain reads from the front to the end, over and over.
func besideAgain(ctx context.Context, o *wal.LogReader, s *sightings) error {
	for ctx.Err() == nil {
		if err := s.readAll(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// besideReopen is besideAgain with a LogReader of its own each time.
func besideReopen(ctx context.Context, _ *wal.LogReader, s *sightings) error {
	for n := 0; ctx.Err() == nil; n++ {
		s.saw(s.Records > 0 && n >= 10)
		o, err := wal.OpenReader(s.dir)
		if err != nil {
			return err
		}
		if err = errors.Join(s.readAll(ctx, o), o.Close()); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads from the front to the end.
func (s *sightings) readAll(ctx context.Context, o *wal.LogReader) error {
	r := o.Reader(0)
	var run succession
	var err error
	for err == nil && ctx.Err() == nil && r.Next() {
		err = run.add(r.LSN(), r.Record())
	}
	s.Records += run.records
	if err = errors.Join(err, r.Close()); errors.Is(err, wal.ErrTruncated) {
		s.truncated()
		return nil
	}
	return err
}

// besideProcess is a reader in another process.
type besideProcess struct {
	t    *testing.T
	kind string
	cmd  *exec.Cmd
	in   io.WriteCloser
	said chan json.RawMessage // what it prints, until its output ends
}

// startBeside starts a reader in another process.
func startBeside(t *testing.T, kind, dir string) *besideProcess {
	t.Helper()
	return startProgram(t, exec.Command(os.Args[0]), kind, dir, nil)
}

// startProgram starts a copy of the test binary as a reader.
func startProgram(t *testing.T, cmd *exec.Cmd, kind, dir string, attr *syscall.SysProcAttr) *besideProcess {
	t.Helper()
	cmd.SysProcAttr = attr
	cmd.Env = append(os.Environ(), besideReader+"="+kind+","+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &besideProcess{t: t, kind: kind, cmd: cmd, in: in, said: make(chan json.RawMessage, 10)}
	go func() {
		defer close(p.said)
		var raw json.RawMessage
		for d := json.NewDecoder(out); d.Decode(&raw) == nil; raw = nil {
			p.said <- raw
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

// await waits until a process that follows has said that it read sayAt records.
func (p *besideProcess) await() {
	p.t.Helper()
	for raw := range p.said {
		if string(raw) == strconv.Itoa(sayAt) {
			return
		}
	}
	p.t.Fatalf("the reader that does %q ended early", p.kind)
}

// end ends it and returns what it saw.
func (p *besideProcess) end() sightings {
	p.t.Helper()
	var s sightings
	if err := p.in.Close(); err != nil {
		p.t.Error(err)
	}
	var last json.RawMessage // what it said while it read comes first
	for last = range p.said {
	}
	if err := errors.Join(json.Unmarshal(last, &s), p.cmd.Wait()); err != nil || s.Error != "" {
		p.t.Errorf("the reader that does %q: %v, %s", p.kind, err, s.Error)
	}
	return s
}

// Steps of TestReadersInOtherProcesses's writer: so many, and then more, with
// pauses, until each reader has come upon records and cuts; but no more than that.
// Readers that do not get a turn see less, and nothing waits for them.
const (
	besideSteps = 5000
	besideMost  = 4 * besideSteps
)

// TestReadersInOtherProcesses lets five of them read, each in its way, beside a
// writer that cuts at both ends and resets its log all the while. Every record
// says under which LSN, and in which generation, it was appended.
func TestReadersInOtherProcesses(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	kinds := []string{"follow", "durable", "get", "again", "reopen"}
	var readers []*besideProcess
	for _, kind := range kinds {
		readers = append(readers, startBeside(t, kind, dir))
	}
	var waiting atomic.Int32
	for _, p := range readers {
		waiting.Add(1)
		go func() {
			for raw := range p.said {
				if string(raw) == sawBoth {
					break
				}
			}
			waiting.Add(-1)
		}()
	}
	g := &generations{l: l}
	rng := newRand(seed)
	end := deadline(t, 10)
	for i := 0; i < besideSteps || thorough() && time.Now().Before(end) || waiting.Load() > 0 && i < besideMost; i++ {
		if err = g.step(rng.IntN(100), rng.Uint64()); err == nil && i%20 == 0 {
			err = l.Sync()
		}
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if i%500 == 0 || i > besideSteps && i%20 == 0 {
			time.Sleep(5 * time.Millisecond) // for those who follow to catch up, and wait
		}
	}
	t.Logf("%d appended, %d generations, %+v", g.appended, g.generation, l.Stats().Truncations)
	for i, p := range readers {
		s := p.end()
		t.Logf("%-8s %8d records, %5d times ErrTruncated, %5d times ErrNotFound", kinds[i], s.Records, s.Truncated, s.NotFound)
	}
}

// killedAgain is how often TestFollowerOutlivesWriters kills a writer.
const killedAgain = 6

// TestFollowerOutlivesWriters follows a log in another process, over writers
// that rotate, are killed, or close it: the follower misses no record.
func TestFollowerOutlivesWriters(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	rng := newRand(seed)
	dir := filepath.Join(fastDir(t), "log")
	l, err := wal.Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	o := openReader(t, dir)
	r, safe := o.Reader(0), o.Reader(0).Durable()
	defer r.Close()
	defer safe.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	lives := []wal.LSN{0}
	next := wal.LSN(1)
	for life := 1; life <= killedAgain; life++ {
		acked := killOne(t, dir, life, rng.IntN(12), lives[life-1], time.Duration(2000+rng.IntN(30_000))*time.Microsecond)
		for ; next <= acked; next++ {
			if !r.Follow(ctx) || r.LSN() != next || string(r.Record()) != string(killRecord(life, next)) {
				t.Fatalf("life %d, record %d of %d: read %d, %v", life, next, acked, r.LSN(), r.Err())
			}
		}
		// What the writer did not get to say is there, too, or nothing is.
		for r.Next() {
			if r.LSN() != next || string(r.Record()) != string(killRecord(life, next)) {
				t.Fatalf("life %d, record %d: read %d", life, next, r.LSN())
			}
			next++
		}
		if r.Err() != nil {
			t.Fatalf("life %d: %v", life, r.Err())
		}
		lives = append(lives, 0)
		lives[life] = next - 1
		for safe.Next() {
		}
		if safe.Err() != nil {
			t.Fatalf("life %d: %v", life, safe.Err())
		}
		if rep, verr := wal.Verify(dir); verr != nil || rep.LastLSN != next-1 {
			t.Fatalf("life %d: read up to %d: %+v, %v", life, next-1, rep, verr)
		}
	}
	l = openLog(t, dir, small())
	lsn, err := l.Append(killRecord(99, next))
	if err != nil || lsn != next || !r.Follow(ctx) || r.LSN() != next {
		t.Fatalf("record %d: %d, %v, %v", next, r.LSN(), r.Err(), err)
	}
	if err = l.Close(); err != nil {
		t.Fatal(err)
	}
	for safe.LSN() < next {
		if !safe.Follow(ctx) {
			t.Fatalf("durable, record %d: %v", safe.LSN()+1, safe.Err())
		}
	}
	t.Log(fmt.Sprint(lives))
}
