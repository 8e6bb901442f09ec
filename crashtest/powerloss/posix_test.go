//go:build linux

package powerloss_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/powerloss"
)

// TestPOSIX cuts the power by the rules of POSIX: of programs that leave one sync out what is lost
// is found and told, and shows again by its token; the same with that sync are clean.
func TestPOSIX(t *testing.T) {
	need(t)
	t.Parallel()
	const (
		// All that is acknowledged is there, in a file of its own, or in one that is replaced.
		each  = "while read n; do grep -qx $n {dir}/f$n || { echo $n; exit 1; }; done <{acks}"
		newer = "test $(tail -n 1 {acks}) -le $(cat {dir}/f)"
	)
	for _, tt := range []struct {
		name, workload, check, lost string
	}{
		{"created, its directory not synced", "cd {dir}; for n in 1 2 3; do echo $n >f$n; sync f$n; echo ack $n; done", each, "the name f"},
		{"created and synced", "cd {dir}; for n in 1 2 3; do echo $n >f$n; sync f$n; sync .; echo ack $n; done", each, ""},
		{"below a directory whose name is not synced", "cd {dir}; mkdir d; echo 1 >d/f1; sync d/f1 d; ln -s d/f1 f1; sync -d .; echo ack 1", "test -e {dir}/d/f1", ""},
		{"its content not synced", "cd {dir}; for n in 1 2 3; do echo $n >f$n; sync .; echo ack $n; done", each, "what was written to f"},
		{"replaced, its directory not synced", "cd {dir}; for n in 1 2 3; do echo $n >t; sync t; mv t f; echo ack $n; done", newer, "the "},
		{"replaced, its content not synced", "cd {dir}; for n in 1 2 3; do echo $n >t; mv t f; sync .; echo ack $n; done", newer, "what was written to f"},
		{"replaced and synced", "cd {dir}; for n in 1 2 3; do echo $n >t; sync t; mv t f; sync .; echo ack $n; done", newer, ""},
		{"unlinked, its directory not synced", "cd {dir}; echo >lock; sync lock .; rm lock; echo ack 1", "test ! -e {dir}/lock", "the removal of lock"},
		{"unlinked and synced", "cd {dir}; echo >lock; sync lock .; rm lock; sync .; echo ack 1", "test ! -e {dir}/lock", ""},
		{"a directory whose name is not synced", "cd {dir}; mkdir d; echo 1 >d/f; sync d/f d; echo ack 1", "test -e {dir}/d/f", "the directory d"},
		{"a directory is renamed and synced", "cd {dir}; mkdir a; echo 1 >a/f; sync a/f a .; mv a b; sync .; echo ack 1", "test -f {dir}/b/f", ""},
		{"a directory is renamed, not synced", "cd {dir}; mkdir a; echo 1 >a/f; sync a/f a .; mv a b; echo ack 1", "test -f {dir}/b/f -o -f {dir}/a/f", ""},
		{"a directory that is not empty stays", "cd {dir}; mkdir a; echo 1 >a/f; sync a/f a .; rmdir a 2>/dev/null; echo ack 1", "test -f {dir}/a/f", ""},
		{"a directory is removed and synced", "cd {dir}; mkdir a; echo 1 >a/f; sync a/f a .; rm -r a; sync .; echo ack 1", "test ! -e {dir}/a", ""},
		{"made anew, its directory synced before it", "cd {dir}; echo 1 >f; sync f .; rm f; echo 2 >f; sync .; sync f; echo ack 1", "grep -q 2 {dir}/f", ""},
		{
			"modes and links", "cd {dir}; mkdir -m 700 a; echo 1 >a/f; chmod 751 a/f; ln a/f a/g; ln -s f a/h; sync a/f a .; echo ack 1",
			"test $(stat -c %a-%h {dir}/a/f)-$(stat -c %a {dir}/a)-$(readlink {dir}/a/h) = 751-2-700-f", "",
		},
		{"written with O_DSYNC", "cd {dir}; echo 1 | dd of=f oflag=dsync 2>/dev/null; sync .; echo ack 1", "grep -q 1 {dir}/f", ""},
		{"what is printed elsewhere is no acknowledgement", "cd {dir}; echo ack 1 >/dev/null; echo ack 1 >&2; printf 5 >/dev/null; echo 1 >f; sync f .; echo ack 2", "test $(cat {acks}) = 2 -a -e {dir}/f", ""},
		{"no check", "cd {dir}; for n in 1 2 3; do echo $n >t; mv t f; done", files.Check, "what was written to f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := powerloss.Options{
				Limits: campaign.Limits{Seed: 1, Dir: newDir(t)}, Filesystem: filesystem(t, powerloss.POSIX),
				Program: kill.Program{Workload: tt.workload, Check: tt.check},
			}
			r, err := powerloss.Run(t.Context(), o)
			if err != nil || r.Distinct == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if tt.lost == "" {
				if len(r.Findings) > 0 {
					t.Errorf("%+v", r.Findings)
				}
				return
			}
			if len(r.Findings) == 0 || len(r.Findings[0].Lost) != 1 || !strings.HasPrefix(r.Findings[0].Lost[0], tt.lost) {
				t.Fatalf("not %q in %d states: %+v", tt.lost, r.Distinct, r.Findings)
			}
			again, err := powerloss.Replay(t.Context(), r.Findings[0].Token, powerloss.Options{Limits: campaign.Limits{Dir: o.Dir}})
			if err != nil || len(again.Findings) != 1 || again.Findings[0].Kind != r.Findings[0].Kind {
				t.Errorf("replayed: %+v, %v", again, err)
			}
			if _, err = powerloss.Keep(t.Context(), r.Findings[0].Token, filepath.Join(o.Dir, "kept"), powerloss.Options{}); err == nil {
				t.Error("an image of POSIX was kept")
			}
			_ = os.RemoveAll(filepath.Join(o.Dir, "kept"))
		})
	}
	if _, err := powerloss.Run(t.Context(), powerloss.Options{Filesystem: filesystem(t, powerloss.POSIX)}); err == nil {
		t.Error("the log was run on it")
	}
}

// TestPOSIXWeakened leaves syncs out: only the program believes that they were made.
func TestPOSIXWeakened(t *testing.T) {
	need(t)
	t.Parallel()
	for _, check := range []string{"test $(tail -n 1 {acks}) -le $(cat {dir}/f)", files.Check} {
		r, err := powerloss.Run(t.Context(), powerloss.Options{
			Limits:     campaign.Limits{Seed: 1, Dir: newDir(t), Mutate: campaign.Mutations{"no-fsync"}},
			Filesystem: filesystem(t, powerloss.POSIX),
			Program:    kill.Program{Workload: "cd {dir}; for n in 1 2 3; do echo $n >t; sync t; mv t f; sync .; echo ack $n; done", Check: check},
		})
		if err != nil || len(r.Findings) == 0 {
			t.Errorf("%s: %+v, %v", check, r, err)
		}
	}
}
