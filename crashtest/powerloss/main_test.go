//go:build linux

package powerloss_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// TestMain has the tests run where no test of another package copies their mounts.
func TestMain(m *testing.M) {
	if verb := os.Getenv(mappedEnv); verb != "" {
		if err := mapped(verb, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if blockdev.Ready() == nil {
		if err := blockdev.Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// need skips the test where there can be no disks; in CI it fails.
func need(t *testing.T) {
	t.Helper()
	if err := blockdev.Ready(); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatalf("must run in CI: %v", err)
		}
		t.Skip(err)
	}
}

// newDir returns a scratch directory, in which nothing may be left.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil || bytes.Contains(mounts, []byte(" "+dir+"/")) {
			t.Errorf("left behind: mounts below %s, %v", dir, err)
		}
	})
	return dir
}

// wrong is how a journal is wrong.
type wrong int

const (
	right  wrong = iota
	early        // acknowledges before its sync
	noDir        // does not sync the directory of a file that it made
	noSync       // forgets every fourth sync
	deaf         // takes no error of a sync for one
)

// journal is a subject that writes numbered lines, a file for each ten, and syncs
// each.
func journal(name string, w wrong) campaign.Subject {
	return campaign.Checked(name, func(l *campaign.Life, ack func(string)) error {
		known, _ := l.Known.(campaign.Acks)
		// What a cut left behind the last whole line is not gone on from.
		for n := len(known)/10*10 + 100; n < len(known)/10*10+130; n++ {
			if err := w.line(l.Dir, n, ack); err != nil {
				return err
			}
		}
		return nil
	}, check, nil)
}

// line writes one line, and acknowledges it.
func (w wrong) line(dir string, n int, ack func(string)) error {
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("journal-%d", n/10)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err = fmt.Fprintf(f, "%d %s\n", n, strings.Repeat("x", 200)); err != nil {
		return errors.Join(err, f.Close())
	}
	if w == early {
		ack(strconv.Itoa(n))
	}
	if w != noSync || n%4 != 0 {
		err = f.Sync()
	}
	if w == deaf {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n%10 == 0 && w != noDir {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err = errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	if w != early {
		ack(strconv.Itoa(n))
	}
	return nil
}

// check looks for all lines that were acknowledged.
func check(dir string, acks []string) error {
	for _, a := range acks {
		n, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		f, err := os.Open(filepath.Join(dir, fmt.Sprintf("journal-%d", n/10)))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		text, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if !bytes.Contains(text, []byte(fmt.Sprintf("%d %s\n", n, strings.Repeat("x", 200)))) {
			return fmt.Errorf("line %d is missing", n)
		}
	}
	return nil
}
