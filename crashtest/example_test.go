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
	"testing"

	"github.com/seawall-wal/seawall/crashtest"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/model"
	"github.com/seawall-wal/seawall/durability"
)

// counter keeps a number in a file, which it replaces: the next number is
// written to a temporary file, synced, and renamed over the old one.
type counter struct {
	syncDir bool // whether the directory is synced before the number counts
}

// count counts up to n, and calls ack with each number that is durable.
func (c counter) count(l *campaign.Life, n uint64, ack func(string)) error {
	d, err := durability.OpenDir(l.Dir, l.Tracer)
	if err != nil {
		return err
	}
	for i := uint64(1); err == nil && i <= n; i++ {
		err = c.replace(d, i)
		ack(fmt.Sprint(i))
	}
	return errors.Join(err, d.Close())
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
	b, err := os.ReadFile(filepath.Join(dir, "number"))
	if errors.Is(err, fs.ErrNotExist) && len(acks) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) != 8 {
		return fmt.Errorf("the number has %d bytes", len(b))
	}
	if n := binary.BigEndian.Uint64(b); n < uint64(len(acks)) {
		return fmt.Errorf("the number is %d after %d was acknowledged", n, len(acks))
	}
	return nil
}

// subject makes a subject of it.
func (c counter) subject() campaign.Subject {
	return campaign.Checked(fmt.Sprintf("counter %v", c.syncDir),
		func(l *campaign.Life, ack func(string)) error { return c.count(l, 40, ack) }, c.check)
}

// Example holds a counter that forgets to sync its directory against the states
// that a power loss could leave.
func Example() {
	forgetful := counter{}.subject()
	r, err := model.Run(context.Background(), []campaign.Subject{forgetful}, model.Options{Depth: 1})
	if err != nil {
		panic(err)
	}
	f := r.Findings[0]
	fmt.Printf("%s, when a crash takes one thing: %d\n", f.Kind, len(f.Lost))
	// Output:
	// lost, when a crash takes one thing: 1
}

// TestCounter is what a test of the counter looks like.
func TestCounter(t *testing.T) {
	crashtest.Model(t, counter{syncDir: true}.subject(), model.Options{Depth: 1})
}
