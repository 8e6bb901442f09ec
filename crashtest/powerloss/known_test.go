//go:build linux

package powerloss_test

import (
	"fmt"
	"os"
	"os/exec"
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
		t.Skip(err)
	}
}

// known is a program whose marks are known on a filesystem.
type known struct {
	name, filesystem string
	program          kill.Program

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
		p = k.program
		p.Check, k.loses = "true", false
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
		{name: "WAL NORMAL", filesystem: "ext4", loses: true},
		{name: "WAL FULL", filesystem: "ext4"},
		{name: "DELETE FULL", filesystem: "xfs", loses: true},
		{name: "DELETE FULL", filesystem: "btrfs", loses: true},
	} {
		t.Run(k.name+" "+k.filesystem, func(t *testing.T) {
			t.Parallel()
			k.states = 20
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
		{name: "without sync", filesystem: "ext4", loses: true, tears: true},
		{name: "without sync", filesystem: "xfs", loses: true, tears: true},
		{name: "without sync", filesystem: "btrfs", loses: true, states: 60},
		{name: "with sync", filesystem: "ext4", states: 30},
		{name: "with sync", filesystem: "xfs", states: 20},
		{name: "with sync", filesystem: "btrfs", states: 20},
	} {
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
			k.test(t)
		})
	}
}
