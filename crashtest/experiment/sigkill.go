//go:build linux

package experiment

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
	"github.com/seawall-wal/seawall/durability"
)

const (
	sigkillLives   = 36
	sigkillRecord  = 16      // bytes of a record: its number, and the number in disguise
	sigkillStored  = 1 << 20 // bytes of the mapped file
	sigkillBuffer  = 4096    // bytes that the third way keeps to itself
	sigkillMask    = 0x5ea3a11d15ea5e01
	sigkillMaxAcks = 600
)

// sigkillWays are the ways of writing, in the order of one round.
var sigkillWays = []string{"store into a mapping", "write(2)", "buffer of the process"}

// sigkill asks which writes survive the death of the process that made them.
var sigkill = Experiment{
	Name: "sigkill",
	Hypothesis: "What was stored into a shared mapping, or written by write(2), survives SIGKILL from the moment " +
		"the store or the call is done; what lies in a buffer of the process is lost.",
	Clauses: []string{"C1 process death"},
	measure: measureSigkill,
}

// sigkillMeasured is what sigkill counts over all lives.
type sigkillMeasured struct {
	Kills int          `json:"kills"`
	Ways  []sigkillWay `json:"ways"`
}

// sigkillWay is one way of writing.
type sigkillWay struct {
	Way      string `json:"way"`
	KilledIn int    `json:"killed_in"` // kills between the ack before this step and its own
	Acked    int64  `json:"acked"`     // records that the process said were done
	Lost     int64  `json:"lost"`      // of these, not in the file after the death
	Beyond   int64  `json:"beyond"`    // in the file, and not acked yet
	Partly   int    `json:"partly"`    // times that a part of the next record was in the file
}

// sigkillArgs are a child's.
type sigkillArgs struct{ Dir string }

// sigkillNames are the files of one life, by way.
var sigkillNames = []string{"stored", "written", "buffered"}

// measureSigkill starts a process again and again, and kills it at instants that
// the seed chooses: after a number of acks, and then some microseconds.
func measureSigkill(ctx context.Context, l *lab) (measurement, error) {
	m := &sigkillMeasured{}
	for _, way := range sigkillWays {
		m.Ways = append(m.Ways, sigkillWay{Way: way})
	}
	for life := range sigkillLives {
		dir := filepath.Join(l.dir, fmt.Sprint(life))
		acks := 1 + l.random.IntN(sigkillMaxAcks)
		wait := time.Duration(l.random.IntN(50)) * time.Microsecond
		if err := m.live(ctx, dir, acks, wait); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// live has one child write, kills it and counts what is left.
func (m *sigkillMeasured) live(ctx context.Context, dir string, acks int, wait time.Duration) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	cmd, err := newChild(ctx, "sigkill", sigkillArgs{dir})
	if err != nil {
		return err
	}
	var said child.Output
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err = cmd.Start(); err != nil {
		return err
	}
	heard, readErr := io.ReadAll(io.LimitReader(out, int64(acks)*sigkillRecord))
	for begin := time.Now(); time.Since(begin) < wait; {
		// Sleeping would take longer than this.
	}
	killErr := cmd.Process.Kill()
	rest, restErr := io.ReadAll(out)
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signal() != syscall.SIGKILL || len(heard) < acks*sigkillRecord {
		return errors.Join(fmt.Errorf("a child ended by itself: %s", said.Text()), readErr, killErr, restErr, waitErr)
	}
	if err := errors.Join(readErr, restErr); err != nil {
		return err
	}
	m.Kills++
	return m.count(dir, append(heard, rest...))
}

// count compares what the child said with what the files hold.
func (m *sigkillMeasured) count(dir string, heard []byte) error {
	acked := make([]int64, len(m.Ways))
	last := len(m.Ways) - 1
	for ; len(heard) >= sigkillRecord; heard = heard[sigkillRecord:] {
		last = int(binary.LittleEndian.Uint64(heard))
		acked[last] = int64(binary.LittleEndian.Uint64(heard[8:]))
	}
	m.Ways[(last+1)%len(m.Ways)].KilledIn++
	for i := range m.Ways {
		w := &m.Ways[i]
		data, err := os.ReadFile(filepath.Join(dir, sigkillNames[i]))
		if err != nil {
			return err
		}
		whole, partly := sigkillCount(data)
		w.Acked += acked[i]
		w.Lost += max(0, acked[i]-whole)
		w.Beyond += max(0, whole-acked[i])
		if partly {
			w.Partly++
		}
	}
	return os.RemoveAll(dir)
}

// sigkillCount returns how many whole records a file begins with, and whether a
// part of another follows.
func sigkillCount(data []byte) (whole int64, partly bool) {
	for len(data) >= sigkillRecord && bytes.Equal(data[:sigkillRecord], sigkillEncode(whole+1)) {
		whole++
		data = data[sigkillRecord:]
	}
	rest := bytes.TrimRight(data, "\x00")
	return whole, len(rest) > 0
}

// sigkillEncode returns a record.
func sigkillEncode(n int64) []byte {
	p := binary.LittleEndian.AppendUint64(nil, uint64(n))
	return binary.LittleEndian.AppendUint64(p, uint64(n)^sigkillMask)
}

// sigkillChild writes in all ways, round by round, and says after each step that
// it is done. It ends only by being killed.
func sigkillChild(encoded []byte) error {
	var args sigkillArgs
	if err := json.Unmarshal(encoded, &args); err != nil {
		return err
	}
	d, err := durability.OpenDir(args.Dir, nil)
	if err != nil {
		return err
	}
	stored, err := d.Create(sigkillNames[0], 0o600)
	if err != nil {
		return err
	}
	if err = stored.Allocate(sigkillStored, durability.AllocateOptions{}); err != nil {
		return err
	}
	mapping, err := stored.Map(sigkillStored, true)
	if err != nil {
		return err
	}
	written, err := os.Create(filepath.Join(args.Dir, sigkillNames[1]))
	if err != nil {
		return err
	}
	below, err := os.Create(filepath.Join(args.Dir, sigkillNames[2]))
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(below, sigkillBuffer)
	ways := []func(n int64, record []byte) error{
		func(n int64, record []byte) error { return mapping.Store((n-1)*sigkillRecord, record, nil) },
		func(_ int64, record []byte) error { _, err := written.Write(record); return err },
		func(_ int64, record []byte) error { _, err := buffered.Write(record); return err },
	}
	for n := int64(1); n <= sigkillStored/sigkillRecord; n++ {
		for i, write := range ways {
			if err := write(n, sigkillEncode(n)); err != nil {
				return err
			}
			ack := binary.LittleEndian.AppendUint64(nil, uint64(i))
			if _, err := os.Stdout.Write(binary.LittleEndian.AppendUint64(ack, uint64(n))); err != nil {
				return err
			}
		}
	}
	return errors.New("nobody killed it")
}

// check implements measurement.
func (m *sigkillMeasured) check() complaints {
	var c complaints
	c.unless(m.Kills > 0, "nothing was killed")
	for i, w := range m.Ways {
		c.unless(w.Acked > 0, "%s: no record was acked", w.Way)
		if i == len(m.Ways)-1 {
			c.unless(w.Lost > 0, "%s: all %d records survived", w.Way, w.Acked)
		} else {
			c.unless(w.Lost == 0, "%s: %d of %d records were lost", w.Way, w.Lost, w.Acked)
		}
	}
	return c
}

// table implements measurement.
func (m *sigkillMeasured) table() table {
	t := table{Columns: []string{"way", "killed in it", "acked", "survived", "lost", "not acked, there", "partly there"}}
	for _, w := range m.Ways {
		t.add(w.Way, w.KilledIn, w.Acked, w.Acked-w.Lost, w.Lost, w.Beyond, w.Partly)
	}
	return t
}
