//go:build linux

package crashtest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
	"github.com/seawall-wal/seawall/durability"
)

// counter keeps a number in a file, which it replaces: the next number is
// written to a temporary file, synced, and renamed over the old one.
type counter struct {
	early   bool // whether a number counts before anything is done
	syncDir bool // whether the directory is synced before the number counts
}

// count counts on by n, and calls ack with each number that is durable.
func (c counter) count(l *campaign.Life, n uint64, ack func(string)) error {
	d, err := durability.OpenDir(l.Dir, l.Tracer)
	if err != nil {
		return err
	}
	if err = d.Remove("number.tmp"); errors.Is(err, fs.ErrNotExist) { // what a crash left
		err = nil
	}
	i, rerr := c.read(l.Dir)
	err = errors.Join(err, rerr)
	for n += i; err == nil && i < n; {
		i++
		if c.early {
			ack(fmt.Sprint(i))
		}
		if err = c.replace(d, i); !c.early {
			ack(fmt.Sprint(i))
		}
	}
	return errors.Join(err, d.Close())
}

// read returns the number, 0 before there is one.
func (c counter) read(dir string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(dir, "number"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case len(b) != 8:
		return 0, fmt.Errorf("the number has %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// replace makes i the number.
func (c counter) replace(d *durability.Dir, i uint64) error {
	f, err := d.Create("number.tmp", 0o644)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, i), 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = d.Rename("number.tmp", "number", f)
	}
	if err == nil && c.syncDir {
		err = d.Sync()
	}
	return errors.Join(err, f.Close())
}

// check returns an error unless the number is at least the last acknowledged.
func (c counter) check(dir string, acks []string) error {
	n, err := c.read(dir)
	if err != nil || len(acks) == 0 {
		return err
	}
	last, err := strconv.ParseUint(acks[len(acks)-1], 10, 64)
	if err == nil && n < last {
		err = fmt.Errorf("the number is %d after %d was acknowledged", n, last)
	}
	return err
}

// subject makes a subject of it, whose lives count on by n.
func (c counter) subject(n uint64) campaign.Subject {
	return campaign.Checked(fmt.Sprintf("counter %+v", c),
		func(l *campaign.Life, ack func(string)) error { return c.count(l, n, ack) }, c.check, nil)
}

// Example holds a counter that forgets to sync its directory against the states
// that a power loss could leave.
func Example() {
	forgetful := counter{}.subject(40)
	r, err := model.Run(context.Background(), []campaign.Subject{forgetful}, model.Options{Depth: 1})
	if err != nil {
		panic(err)
	}
	f := r.Findings[0]
	fmt.Printf("%s, when a crash takes\n%s\n", f.Kind, f.Lost[0])
	fmt.Println(strings.Contains(f.Summary, "was acknowledged, the last of"))
	// Output:
	// lost, when a crash takes
	// the create of number.tmp, not synced since event 4
	// true
}

// Example_kill kills a counter that says too early that a number is durable. The
// processes come to this example by Args; a test that calls crashtest.Kill needs
// none.
func Example_kill() {
	hasty := counter{early: true}.subject(100_000)
	r, err := kill.Run(context.Background(), kill.Options{
		Limits:  campaign.Limits{States: 1000},
		Subject: hasty,
		Args:    kill.TestArgs("Example_kill"),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Findings[0].Kind)
	// Output:
	// lost
}

// TestCounter is what a test of the counter looks like.
func TestCounter(t *testing.T) {
	t.Parallel()
	crashtest.Model(t, counter{syncDir: true}.subject(40), model.Options{
		Limits: campaign.Limits{Seed: 1, States: 300}, Depth: 1,
	})
}

// TestCounterKilled kills it: neither needs the directory to be synced for that.
func TestCounterKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []counter{{}, {syncDir: true}} {
		r := crashtest.Kill(t, c.subject(100_000), kill.Options{Limits: campaign.Limits{Seed: 1, States: 20}})
		if r != nil && r.Stopped == "states" && r.Distinct < 20 {
			t.Errorf("%d verified kills", r.Distinct)
		}
	}
}

// TestCounterPowerCut cuts the power of the filesystem that it is on.
func TestCounterPowerCut(t *testing.T) {
	t.Parallel()
	r := crashtest.PowerLoss(t, counter{syncDir: true}.subject(40), powerloss.Options{Limits: campaign.Limits{Seed: 1, States: 20}})
	if r != nil && r.Distinct < 20 {
		t.Errorf("%d states", r.Distinct)
	}
}
