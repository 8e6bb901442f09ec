//go:build linux

package files_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// need skips a test where no system calls can be watched.
func need(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("SEAWALL_CI") == "1" {
		t.Fatal("it needs root: the kernel lets nobody else watch system calls")
	}
	t.Skip("it needs root: the kernel lets nobody else watch system calls")
}

// lived is a program that was watched.
type lived struct {
	s     *files.Subject
	dir   string
	known []campaign.Known
}

// live runs a script, in which {dir} is where it lives.
func live(t *testing.T, script string, mutations ...string) *lived {
	t.Helper()
	need(t)
	scratch := t.TempDir()
	l := &lived{dir: filepath.Join(scratch, "mnt", "dir")}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.s = &files.Subject{
		Program: kill.Program{Workload: script, Check: files.Check}, Long: time.Minute, Over: t.Context(),
		Acks: func(string) string { return filepath.Join(scratch, "acks") }, Weak: &kill.Weakener{Mutations: mutations},
	}
	l.again(t)
	return l
}

// again runs the script on what is there.
func (l *lived) again(t *testing.T) {
	t.Helper()
	var mu sync.Mutex
	err := l.s.Workload(&campaign.Life{Dir: l.dir, Rand: rand.New(rand.NewPCG(1, 1)), Note: func(k campaign.Known) {
		mu.Lock()
		defer mu.Unlock()
		l.known = append(l.known, k)
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// shell runs a command.
func shell(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// crash has the files be what a command of the shell makes of them, and says what is found then, by
// what was known at the end, or so many moments before.
func (l *lived) crash(t *testing.T, command string, before int) string {
	t.Helper()
	shell(t, strings.ReplaceAll(command, "{dir}", l.dir))
	found, err := l.s.Recover(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	known := l.known[len(l.known)-1-before]
	packed, err := l.s.AppendKnown(nil, known)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.s.ParseKnown(packed)
	if err != nil {
		t.Fatal(err)
	}
	said := tell(found, known)
	if of := tell(found, again); of != said {
		t.Errorf("by a token: %q, not %q", of, said)
	}
	return said
}

// tell says what is found.
func tell(f campaign.Found, k campaign.Known) string {
	var all []string
	for _, err := range []error{f.Present(k, false), f.Legal(k, false)} {
		if err != nil {
			b := campaign.AsBroken(err, campaign.Misjudged)
			all = append(all, fmt.Sprintf("%s: %s", b.Kind, b.What))
		}
	}
	return strings.Join(all, "; ")
}

// TestAsked runs scripts, changes what they have left as a crash might, and tells what of it is
// found.
func TestAsked(t *testing.T) {
	t.Parallel()
	const (
		replace = "cd {dir}; printf old-bytes >f; sync f; sync .; printf new-bytes-longer >t; mv t f"
		safe    = "cd {dir}; printf old-bytes >f; sync f; sync .; printf new-bytes-longer >t; sync t; mv t f; sync ."
	)
	for _, tt := range []struct {
		name, script, crash, want string
		before                    int
	}{
		{"nothing is lost", replace, "true", "", 0},
		{"old", replace, "printf old-bytes >{dir}/f", "", 0},
		{"empty", replace, ": >{dir}/f", "illegal: f is empty; it held 16 bytes when it was renamed into place, and is not what was there before", 0},
		{"short", replace, "truncate -s 12 {dir}/f", "illegal: f has 12 bytes; it held 16 bytes when it was renamed into place, and is not what was there before", 0},
		{"zeros", replace, "truncate -s 0 {dir}/f; truncate -s 16 {dir}/f", "illegal: f has 16 bytes of zeros; it held 16 bytes when it was renamed into place", 0},
		{"mixed", replace, "printf new-bytes-other- >{dir}/f", "illegal: f has other bytes at byte 10; it held 16", 0},
		{"gone", replace, "rm {dir}/f", "lost: f is not there; it was there when its directory was synced", 0},
		{"gone, and only a name", "cd {dir}; printf abc >t; sync t; mv t f", "rm {dir}/f", "", 0},
		{"synced before", safe, "printf old-bytes >{dir}/f", "lost: f has 9 bytes; it held 16 bytes when it was synced", 0},
		{"directory not synced yet", safe, "printf old-bytes >{dir}/f", "", 1},
		{"gone, and was synced", safe, "rm {dir}/f", "lost: f is not there; it was there when its directory was synced", 0},
		{"never synced", "cd {dir}; printf a >f; sync f; printf bytes >g", ": >{dir}/g", "", 0},
		{"appended since", "cd {dir}; printf abc >f; sync f; printf def >>f", "printf abcd >{dir}/f", "", 0},
		{"appended since, and lost", "cd {dir}; printf abc >f; sync f; printf def >>f", "printf ab >{dir}/f", "lost: f has 2 bytes; it held 3 bytes when it was synced", 0},
		{"written again", "cd {dir}; printf abcdef >f; sync f; printf X | dd of=f bs=1 seek=2 conv=notrunc 2>/dev/null", "printf ab?def >{dir}/f", "", 0},
		{"written elsewhere", "cd {dir}; printf abcdef >f; sync f; printf X | dd of=f bs=1 seek=2 conv=notrunc 2>/dev/null", "printf abcdX? >{dir}/f", "lost: f has other bytes at byte 4; it held 6 bytes when it was synced", 0},
		{"before it was written again", "cd {dir}; printf abcdef >f; sync f; printf X | dd of=f bs=1 seek=2 conv=notrunc 2>/dev/null", "printf ab?def >{dir}/f", "lost: f has other bytes at byte 2; it held 6 bytes when it was synced", 1},
		{"truncated since", "cd {dir}; printf abcdef >f; sync f; truncate -s 2 f", "printf ab >{dir}/f", "", 0},
		{"emptied since, by open", "cd {dir}; printf abcdef >f; sync f; printf abcdef >f", ": >{dir}/f", "", 0},
		{"unlinked since", "cd {dir}; printf abc >f; sync f; sync .; rm f", "rm -f {dir}/f", "", 0},
		{"made anew, not synced", "cd {dir}; printf abc >f; sync f; sync .; rm f; printf xyz >f", ": >{dir}/f", "", 0},
		{"made anew and synced: the old one", "cd {dir}; printf abc >f; sync f; sync .; rm f; printf xyz >f; sync f", "printf abc >{dir}/f", "", 0},
		{"made anew and synced: another", "cd {dir}; printf abc >f; sync f; sync .; rm f; printf xyz >f; sync f", "printf ab >{dir}/f", "illegal: f has 2 bytes; it held 3 bytes when it was synced, and is not", 0},
		{"linked into place", "cd {dir}; printf abc >t; ln t f; rm t", ": >{dir}/f", "illegal: f is empty; it held 3 bytes when it was renamed into place", 0},
		{"over one that was never synced", "cd {dir}; printf abc >f; printf xyz1 >t; mv t f", "printf a >{dir}/f", "", 0},
		{"all synced", "cd {dir}; mkdir -p a/b; printf abc >a/b/f; sync -f .", "rm {dir}/a/b/f", "lost: a/b/f is not there", 0},
		{"all synced, by sync", "cd {dir}; mkdir -p a/b; printf abc >a/b/f; sync", "printf abd >{dir}/a/b/f", "lost: a/b/f has other bytes at byte 2", 0},
		{"a directory whose own name was not synced", "cd {dir}; mkdir a; printf abc >a/f; sync a/f; sync a", "rm -r {dir}/a", "", 0},
		{"a directory whose own name was synced", "cd {dir}; mkdir a; printf abc >a/f; sync a/f; sync a; sync .", "rm -r {dir}/a", "lost: a/f is not there", 0},
		{"renamed out of a directory that was synced", "cd {dir}; mkdir a; printf abc >a/f; sync a/f a .; mv a/f g", "mv {dir}/g {dir}/a/f", "", 0},
		{"a directory is renamed", "cd {dir}; mkdir a; printf abc >a/f; sync a/f a .; mv a b", "rm -r {dir}/b", "", 0},
		{"by a path behind a link", "cd {dir}; mkdir -p a/b; printf abc >f; sync f; ln -s a/b s; printf xyz >t; sync t; mv t s/../f", ": >{dir}/f", "lost: f is empty; it held 3 bytes when it was synced", 0},
		{"another filesystem is synced", "cd {dir}; printf abc >f; sync -f /proc; printf xyz >g; sync g", ": >{dir}/f", "", 0},
		{"renamed to where it cannot be", "cd {dir}; printf abc >f; sync f .; mkdir d; mv -T f d 2>/dev/null; sync .", "printf ab >{dir}/f", "lost: f has 2 bytes", 0},
		{"renamed by a path in another directory", "cd {dir}; mkdir a; printf abc >f; cd a; mv ../f ./g", ": >{dir}/a/g", "illegal: a/g is empty", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := live(t, tt.script)
			said := l.crash(t, tt.crash, tt.before)
			if tt.want == "" && said != "" || !strings.HasPrefix(said, tt.want) {
				t.Errorf("%q, not %q", said, tt.want)
			}
		})
	}
}

// TestSyncBesideUnlink syncs a directory while a name in it goes: it has to stay only if it went
// before the sync began, and came again.
func TestSyncBesideUnlink(t *testing.T) {
	for _, tt := range []struct {
		asked, done int
		must        bool
	}{{5, 8, true}, {5, 15, false}, {5, 0, false}, {12, 15, false}, {12, 0, false}, {12, 25, false}} {
		if got := files.MustStay(tt.asked, tt.done); got != tt.must {
			t.Errorf("asked at %d, done at %d: %t", tt.asked, tt.done, got)
		}
	}
}

// TestMapped watches a program that writes through a mapping: what it has synced there is asked
// for, and of the rest what was synced before and not changed.
func TestMapped(t *testing.T) {
	t.Parallel()
	l := live(t, mappedEnv+"={dir} "+os.Args[0])
	page := os.Getpagesize()
	put := func(at int, c string) string {
		return fmt.Sprintf("printf %s | dd of={dir}/f bs=1 seek=%d conv=notrunc 2>/dev/null", c, at)
	}
	for _, step := range []struct{ crash, want string }{
		{"true", ""},
		{put(1, "a"), ""},      // changed after the sync
		{put(2*page, "c"), ""}, // not synced
		{put(2*page, "C"), ""},
		{put(2*page+1, "x"), fmt.Sprintf("lost: f has other bytes at byte %d", 2*page+1)},
		{put(2*page+1, "c"), ""},
		{put(page, "x"), fmt.Sprintf("lost: f has other bytes at byte %d", page)},
		{put(page, "b"), ""},
		{put(0, "a"), "lost: f has other bytes at byte 0"},
	} {
		if said := l.crash(t, step.crash, 0); step.want == "" && said != "" || !strings.HasPrefix(said, step.want) {
			t.Errorf("%s: %q, not %q", step.crash, said, step.want)
		}
	}
}

// TestGoesOn lives on from what a crash has left: that is asked for from then on.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	l := live(t, "cd {dir}; test -e f && exit; printf abc >f; sync f")
	if said := l.crash(t, "printf abcd >{dir}/f", 0); said != "" {
		t.Error(said)
	}
	l.again(t)
	if said := l.crash(t, "printf abc >{dir}/f", 0); !strings.HasPrefix(said, "lost: f has 3 bytes; it held 4") {
		t.Error(said)
	}
}

// TestWeakened leaves calls out: the program does not notice, and what is asked for is the same.
func TestWeakened(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mutation string
		skipped  int64
	}{{"no-fsync", 2}, {"no-dirsync", 1}, {"no-msync", 0}, {"some-syncs", 1}} {
		l := live(t, "cd {dir}; printf abc >f; sync f; sync .; sync -f .", tt.mutation)
		if n := l.s.Weak.Skipped(); n != tt.skipped {
			t.Errorf("%s: %d calls were left out, not %d", tt.mutation, n, tt.skipped)
		}
		if said := l.crash(t, "rm {dir}/f", 0); !strings.HasPrefix(said, "lost: f is not there") {
			t.Errorf("%s: %q", tt.mutation, said)
		}
	}
}

// TestNothing refuses a program of which nothing can be asked.
func TestNothing(t *testing.T) {
	t.Parallel()
	need(t)
	dir := t.TempDir()
	s := &files.Subject{
		Program: kill.Program{Workload: "echo x >{dir}/f", Check: files.Check}, Long: time.Minute, Over: t.Context(),
		Acks: func(string) string { return filepath.Join(t.TempDir(), "acks") }, Weak: &kill.Weakener{},
	}
	err := s.Workload(&campaign.Life{Dir: dir, Note: func(campaign.Known) {}})
	if !errors.Is(err, files.ErrNothing) {
		t.Errorf("%v", err)
	}
}
