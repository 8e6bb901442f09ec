//go:build linux

package powerloss_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// needProgram skips the test where a program is not installed; in CI it fails.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatalf("must run in CI (make deps installs it): %v", err)
		}
		t.Skipf("make deps installs it: %v", err)
	}
}

// builtProgram returns the path of a program that make deps builds, and skips the test where it is
// not built; in CI it fails.
func builtProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", ".bin", name))
	if err != nil {
		t.Fatal(err)
	}
	needProgram(t, path)
	return path
}

// isNightly reports whether tests have a budget of time.
func isNightly() bool { return os.Getenv("SEAWALL_BUDGET") != "" }

// known is a program whose marks are known on a filesystem.
type known struct {
	name, filesystem string
	program          kill.Program

	// nightly says that it is for the nightly run, which has a budget: another filesystem shows
	// the same.
	nightly bool

	// The marks that it misses. Those that it keeps are looked for in so many states.
	loses, tears bool
	states       int64
}

// test cuts the program's power until it has missed what it misses, and so often more.
func (k *known) test(t *testing.T) {
	t.Helper()
	const untilFound = 3000 // it ends before
	p := k.program
	switch {
	case k.loses && k.tears:
		k.cut(t, p, untilFound)
	case k.loses:
		p.Legal = ""
		k.cut(t, p, untilFound)
		if k.program.Legal == "" {
			return
		}
		p = k.program
		p.Check, k.loses = "true", false
		k.cut(t, p, k.states)
	case k.tears: // what is not legal counts as lost, so that the campaign ends with it
		p.Check, p.Legal = k.program.Legal, ""
		k.loses, k.tears = true, false
		k.cut(t, p, untilFound)
		p.Check, k.loses = k.program.Check, false
		k.cut(t, p, k.states)
	default:
		k.cut(t, p, k.states)
	}
}

// cut cuts a program's power on so many states at most.
func (k *known) cut(t *testing.T, p kill.Program, states int64) {
	t.Helper()
	r, err := powerloss.RunAll(t.Context(), powerloss.Options{
		Limits: campaign.Limits{Seed: 3, States: states, Dir: newDir(t)}, Program: p,
	}, []powerloss.Filesystem{filesystem(t, k.filesystem)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[powerloss.Mark]bool{}
	for _, m := range r.Marks {
		got[m.Mark] = m.Shows[0].Missed
		t.Logf("%s: missed: %v, in %d states", m.Mark, m.Shows[0].Missed, m.Shows[0].States)
	}
	for _, f := range r.Findings {
		t.Logf("%s\n%q", f.Summary, f.Lost)
	}
	if got[powerloss.Acknowledged] != k.loses || got[powerloss.Whole] != k.tears {
		t.Errorf("missed: %v; want %q %v, %q %v", got, powerloss.Acknowledged, k.loses, powerloss.Whole, k.tears)
	}
}

// TestSQLite is what SQLite promises by its documentation of each pair of settings, and what it
// does not: https://www.sqlite.org/pragma.html#pragma_synchronous.
func TestSQLite(t *testing.T) {
	need(t)
	needProgram(t, "sqlite3")
	for _, k := range []known{
		{name: "DELETE OFF", filesystem: "ext4", loses: true, tears: true},
		{name: "DELETE FULL", filesystem: "ext4", loses: true}, // the unlink of the journal is not synced
		{name: "DELETE EXTRA", filesystem: "ext4"},
		{name: "WAL NORMAL", filesystem: "ext4", loses: true, nightly: true},
		{name: "WAL FULL", filesystem: "ext4"},
		{name: "DELETE FULL", filesystem: "xfs", loses: true, nightly: true},
		{name: "DELETE FULL", filesystem: "btrfs", loses: true, nightly: true},
	} {
		if k.nightly && !isNightly() {
			continue
		}
		t.Run(k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			k.states = 10
			k.program = kill.Program{
				Workload: fmt.Sprintf("sh testdata/sqlite-work.sh {dir} %s", k.name),
				Check:    "sh testdata/sqlite-acked.sh {dir} {acks}", Legal: "sh testdata/sqlite-whole.sh {dir}",
			}
			k.test(t)
		})
	}
}

// TestReplace is a script that replaces a file, without and with a sync of the new content and of
// the name. Without, ext4 writes the data before the name unless an unrelated file is synced in
// between, btrfs always, and xfs does not.
func TestReplace(t *testing.T) {
	need(t)
	for _, k := range []known{
		{name: "without sync", filesystem: "ext4", loses: true, tears: true, nightly: true},
		{name: "without sync", filesystem: "xfs", loses: true, tears: true},
		{name: "without sync", filesystem: "btrfs", loses: true, nightly: true},
		{name: "with sync", filesystem: "ext4", states: 10},
		{name: "with sync", filesystem: "xfs", states: 10, nightly: true},
		{name: "with sync", filesystem: "btrfs", states: 10, nightly: true},
	} {
		if k.nightly && !isNightly() {
			continue
		}
		t.Run(k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			data, name := "", ""
			if k.name == "with sync" {
				data, name = "sync {dir}/tmp &&", "sync {dir} &&"
			}
			k.program = kill.Program{
				Workload: fmt.Sprintf(`for n in $(seq 20); do echo "content $n" >{dir}/tmp && %s mv {dir}/tmp {dir}/file && %s echo "ack $n"; done`, data, name),
				Check:    `found=$(sed 's/content //' {dir}/file) && test "$found" -ge "$(tail -n 1 {acks})"`,
				Legal:    `test ! -e {dir}/file || grep -qx 'content [0-9]*' {dir}/file`,
			}
			if k.loses && !k.tears {
				k.program.Legal = "" // it is whole by what btrfs does, and does not promise
			}
			k.test(t)
		})
	}
}

// TestGoleveldb is goleveldb with synced writes, in v1.0.0 and in a version that syncs a new manifest
// (v1.0.1-0.20210305035536-64b5b1c73954). The older one names a manifest in CURRENT that is not
// durable, and does not open then. What was acknowledged is in its journals, and a repair brings it
// back. Both are so on each filesystem.
func TestGoleveldb(t *testing.T) {
	need(t)
	for _, k := range []known{
		{name: "known-goleveldb-old", filesystem: "ext4", tears: true},
		{name: "known-goleveldb-old", filesystem: "btrfs", tears: true, nightly: true},
		{name: "known-goleveldb-new", filesystem: "ext4"},
		{name: "known-goleveldb-new", filesystem: "btrfs", nightly: true},
	} {
		if k.nightly && !isNightly() {
			continue
		}
		t.Run(k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			k.states = 10
			program := builtProgram(t, k.name)
			k.program = kill.Program{
				Workload: program + " work {dir}", Check: program + " acked {dir} {acks}", Legal: program + " whole {dir}",
			}
			k.test(t)
		})
	}
}

// TestDiskv is diskv by Write, which does not sync, and by WriteStream, which does. A value is
// written into its own file, of which a part may be there before it is acknowledged: ext4 shows,
// seldom, its length without its content. Or it is written into a temporary file that is renamed:
// it is whole then with a sync, but nothing syncs the new name. Without a sync btrfs writes the
// data before the name, ext4 and xfs do not.
func TestDiskv(t *testing.T) {
	need(t)
	for _, k := range []known{
		{name: "write", filesystem: "ext4", loses: true, tears: true},
		{name: "sync", filesystem: "xfs"},
		{name: "sync", filesystem: "btrfs", nightly: true},
		{name: "write temp", filesystem: "btrfs", loses: true, nightly: true},
		{name: "sync temp", filesystem: "ext4", loses: true, nightly: true},
	} {
		if k.nightly && !isNightly() {
			continue
		}
		t.Run(k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			k.states = 10
			program := builtProgram(t, "known-diskv")
			k.program = kill.Program{
				Workload: program + " work {dir} " + k.name, Check: program + " acked {dir} {acks}", Legal: program + " whole {dir}",
			}
			if k.name == "sync" || k.name == "write temp" {
				k.program.Legal = "" // only what was acknowledged is whole; and btrfs promises nothing
			}
			k.test(t)
		})
	}
}

// TestRedis is Redis with its log synced each second, which is its default, and always. What is
// there after a cut are the first keys in either case. For that the log may have to be repaired as
// the server asks for: where another file was synced meanwhile, ext4 shows zeros at the end of what
// was not.
func TestRedis(t *testing.T) {
	need(t)
	if !isNightly() {
		t.Skip("starts a server for each state: SEAWALL_BUDGET=1m runs it")
	}
	needProgram(t, "redis-server")
	for _, k := range []known{
		{name: "everysec", filesystem: "ext4", loses: true},
		{name: "always", filesystem: "ext4"},
	} {
		if k.nightly && !isNightly() {
			continue
		}
		t.Run(k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			k.states = 10
			k.program = kill.Program{
				Workload: "sh testdata/redis-work.sh {dir} " + k.name,
				Check:    "sh testdata/redis-acked.sh {dir} {acks}", Legal: "sh testdata/redis-whole.sh {dir}",
			}
			k.test(t)
		})
	}
}

// TestGit is git as it is installed, which syncs no loose object: a name may lead to an empty one,
// on each filesystem (on btrfs after its own commit only). With core.fsync=all each object is whole;
// but the rename of a reference is not synced, so that the newest commit may be lost, nor is the index
// that git commit writes, which is no object, nor the directories of the objects: on btrfs a commit
// may be there without its tree. What is seldom found is not looked for here.
func TestGit(t *testing.T) {
	need(t)
	needProgram(t, "git")
	for _, k := range []known{
		{name: "", filesystem: "ext4", loses: true, tears: true},
		{name: "all", filesystem: "ext4", loses: true, nightly: true},
	} {
		t.Run("core.fsync="+k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			k.states = 10
			k.program = kill.Program{
				Workload: "sh testdata/git-work.sh {dir} " + k.name,
				Check:    "sh testdata/git-acked.sh {dir} {acks}", Legal: "sh testdata/git-whole.sh {dir}",
			}
			if !k.tears {
				k.program.Legal = ""
			}
			k.test(t)
		})
	}
}
