//go:build linux

package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/crashtest/doctor"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// TestMain lets the campaigns' children, which are this binary, do their work.
func TestMain(m *testing.M) {
	kill.BeChild(&seawall.Log{})
	os.Exit(m.Run())
}

// names are the parts of the lab.
var names = []string{"kill", "model", "exact", "ext4", "xfs", "btrfs", "cgroups", "fuse", "loop"}

// TestExamine examines this machine: kill and model run, what does not has its line,
// and nothing is left.
func TestExamine(t *testing.T) {
	dir := t.TempDir()
	checks, err := doctor.Examine(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range checks {
		got = append(got, c.Name)
		if c.OK != (c.Enable == "") {
			t.Errorf("%+v", c)
		}
	}
	if !slices.Equal(got, names) || len(doctor.Missing(checks)) > 0 {
		t.Errorf("%+v", checks)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestExamineNot: what is required and does not run is told, and an examination that
// is interrupted is none.
func TestExamineNot(t *testing.T) {
	checks, err := doctor.Examine(t.Context(), filepath.Join(t.TempDir(), "missing"))
	if err != nil {
		t.Fatal(err)
	}
	if got := doctor.Missing(checks); !slices.Equal(got, []string{"kill", "model"}) || !strings.Contains(checks[0].Enable, "no such file") {
		t.Errorf("%+v", checks)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := doctor.Examine(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// whole are the files of a machine that lacks nothing.
func whole() map[string]string {
	return map[string]string{
		"proc/filesystems":                  "nodev\ttmpfs\n\text4\n\tbtrfs\nnodev\tfuse\n\tfuseblk\n",
		"proc/sys/kernel/osrelease":         "6.1.0\n",
		"lib/modules/6.1.0/modules.dep":     "kernel/fs/xfs/xfs.ko.zst: kernel/lib/crc.ko.zst\n",
		"proc/self/uid_map":                 "         0          0 4294967295\n",
		"proc/self/status":                  "Name:\tx\nCapEff:\t000001ffffffffff\n",
		"proc/sys/kernel/yama/ptrace_scope": "1\n",
		"usr/sbin/mkfs.ext4":                "",
		"usr/sbin/mkfs.xfs":                 "",
		"sbin/mkfs.btrfs":                   "",
		"dev/fuse":                          "",
		"dev/loop-control":                  "",
	}
}

// TestMachine takes one thing after the other from a machine.
func TestMachine(t *testing.T) {
	t.Setenv("PATH", "/usr/bin")
	const root = "run it as root (CAP_SYS_ADMIN, not in a user namespace)"
	for _, c := range []struct {
		name          string
		change        map[string]string // a minus removes
		trace, memory error
		want          map[string]string
	}{
		{name: "lacks nothing"},
		{name: "no tool", change: map[string]string{"usr/sbin/mkfs.ext4": "-"}, want: map[string]string{"ext4": "install mkfs.ext4: apt-get install e2fsprogs"}},
		{name: "no module", change: map[string]string{"lib/modules/6.1.0/modules.dep": "-"}, want: map[string]string{"xfs": "boot a kernel with xfs, or install its module"}},
		{
			name: "a user", change: map[string]string{"proc/self/status": "CapEff:\t0000000000000000\n"}, memory: errors.New("no cgroup"),
			want: map[string]string{
				"ext4": root, "xfs": root, "btrfs": root, "loop": root, "fuse": "install fusermount3: apt-get install fuse3",
				"cgroups": "run it as root, or by `systemd-run --user --scope -p Delegate=yes`: no cgroup",
			},
		},
		{
			name: "root of a user namespace", change: map[string]string{"proc/self/uid_map": "0 1000 1\n", "usr/bin/fusermount3": ""},
			want: map[string]string{"ext4": root, "xfs": root, "btrfs": root, "loop": root},
		},
		{name: "no trace", trace: errors.New("no"), want: map[string]string{"exact": "permit ptrace: a container needs --cap-add SYS_PTRACE"}},
		{
			name: "no trace, by Yama", trace: errors.New("no"), change: map[string]string{"proc/sys/kernel/yama/ptrace_scope": "2\n"},
			want: map[string]string{"exact": "sysctl kernel.yama.ptrace_scope=1"},
		},
		{
			name: "no devices", change: map[string]string{"dev/fuse": "-", "dev/loop-control": "-"},
			want: map[string]string{
				"fuse": "mknod /dev/fuse c 10 229: a container needs --device /dev/fuse",
				"loop": "modprobe loop; a container needs --privileged",
			},
		},
		{name: "no FUSE", change: map[string]string{"proc/filesystems": "\text4\n\tbtrfs\n"}, want: map[string]string{"fuse": "modprobe fuse"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, dir := whole(), t.TempDir()
			for name, content := range c.change {
				files[name] = content
			}
			for name, content := range files {
				if content == "-" {
					continue
				}
				path := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o700)); err != nil {
					t.Fatal(err)
				}
			}
			got := map[string]string{}
			for i, check := range doctor.ExamineMachine(dir, c.trace, c.memory) {
				if check.Name != names[i+2] || check.OK != (check.Enable == "") || check.Required {
					t.Errorf("%+v", check)
				}
				if !check.OK {
					got[check.Name] = check.Enable
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" && len(c.want)+len(got) > 0 {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
