//go:build linux

package powerloss_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// mappedEnv has the test binary be a program that stores numbers through a mapping, or its check.
const mappedEnv = "SEAWALL_TEST_MAPPED"

// numbers are how many of them there are in a file of the mapped program. Each has a kilobyte.
const numbers, numberBytes = 256, 1 << 10

// mapped stores numbers in a directory, syncs each by msync, and acknowledges it; or it checks that
// those are there that a file of acknowledgements has.
func mapped(verb string, args []string) error {
	path := filepath.Join(args[0], "numbers")
	if verb == "check" {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		acks, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		n := uint64(bytes.Count(acks, []byte("\n")))
		for i := range n {
			if got := binary.LittleEndian.Uint64(data[i*numberBytes:]); got != i+1 {
				return fmt.Errorf("number %d is %d", i+1, got)
			}
		}
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	zeros := make([]byte, numbers*numberBytes)
	if st, serr := f.Stat(); serr != nil || st.Size() == 0 {
		if _, err = f.Write(zeros); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, serr); err != nil {
			return err
		}
	}
	dir, err := os.Open(args[0])
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(zeros), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	n := 0
	for binary.LittleEndian.Uint64(m[n*numberBytes:]) != 0 {
		n++
	}
	for end := n + 24; n < end; n++ {
		binary.LittleEndian.PutUint64(m[n*numberBytes:], uint64(n+1))
		page := n * numberBytes &^ (os.Getpagesize() - 1)
		if err = unix.Msync(m[page:page+os.Getpagesize()], unix.MS_SYNC); err != nil {
			return err
		}
		fmt.Printf("ack %d\n", n+1)
	}
	return nil
}

// TestMapped cuts the power of a program that writes through a mapping, with a check of its own and
// without one: it keeps what it acknowledges, unless its msync is left out.
func TestMapped(t *testing.T) {
	need(t)
	t.Parallel()
	workload := mappedEnv + "=work " + os.Args[0] + " {dir}"
	for _, check := range []string{mappedEnv + "=check " + os.Args[0] + " {dir} {acks}", files.Check} {
		for _, mutations := range []campaign.Mutations{nil, {"no-msync"}} {
			name := "own"
			if check == files.Check {
				name = check
			}
			t.Run(strings.Join(append([]string{name}, mutations...), ","), func(t *testing.T) {
				o := powerloss.Options{
					Limits:     campaign.Limits{Seed: 1, States: 20, Dir: newDir(t), Mutate: mutations},
					Filesystem: filesystem(t, "ext4"), Program: kill.Program{Workload: workload, Check: check}, Disks: 2,
				}
				if mutations != nil {
					o.States = 3000 // it ends before
				}
				r, err := powerloss.Run(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case mutations == nil && len(r.Findings) > 0:
					t.Errorf("%+v", r.Findings)
				case mutations != nil && (len(r.Findings) == 0 || r.Findings[0].Kind != campaign.Lost):
					t.Errorf("nothing was lost in %d states", r.Distinct)
				case mutations != nil:
					t.Logf("after %d states: %s", r.Distinct, r.Findings[0].Summary)
				}
			})
		}
	}
}

// TestFiles checks a program that has no check: of files that are replaced, an empty one is found
// where the new one was not synced before, and its token shows it again; where it was synced
// nothing is, unless the sync is left out.
func TestFiles(t *testing.T) {
	need(t)
	t.Parallel()
	run := func(t *testing.T, workload, filesystemName string, states int64, mutations ...string) *campaign.Result {
		t.Helper()
		r, err := powerloss.Run(t.Context(), powerloss.Options{
			Limits:     campaign.Limits{Seed: 1, States: states, Dir: newDir(t), Mutate: mutations},
			Filesystem: filesystem(t, filesystemName), Program: kill.Program{Workload: workload, Check: files.Check}, Disks: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const (
		unsafe = "cd {dir}; for i in 1 2 3 4 5 6 7 8; do seq $i 999 >t; mv t f; done"
		safe   = "cd {dir}; for i in 1 2 3 4 5 6 7 8; do seq $i 999 >t; sync t; mv t f; done"
	)
	r := run(t, unsafe, "xfs", 3000)
	if len(r.Findings) == 0 || r.Findings[0].Kind != campaign.Illegal || !strings.HasPrefix(r.Findings[0].Summary, "f ") {
		t.Fatalf("%+v", r)
	}
	t.Logf("after %d states: %s", r.Distinct, r.Findings[0].Summary)
	again, err := powerloss.Replay(t.Context(), r.Findings[0].Token, powerloss.Options{Limits: campaign.Limits{Dir: newDir(t)}})
	if err != nil || len(again.Findings) != 1 || again.Findings[0].Kind != campaign.Illegal {
		t.Errorf("replayed: %+v, %v", again, err)
	}
	if r = run(t, safe, "xfs", 20); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	if r = run(t, safe, "xfs", 3000, "no-fsync"); len(r.Findings) == 0 || r.Findings[0].Kind != campaign.Illegal && r.Findings[0].Kind != campaign.Lost {
		t.Errorf("%+v", r)
	}
	if r = run(t, safe, "ext4", 10, "no-dirsync"); !errors.Is(r.Verdict(), campaign.ErrUnverified) {
		t.Errorf("nothing was left out, and the verdict is %v", r.Verdict())
	}
}
