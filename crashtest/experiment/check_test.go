//go:build linux

package experiment_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// contradictions are changes to the measurements in testdata, which were taken
// on Linux 6.18 and ext4 and are as expected: PATH=VALUE, and a word of the
// complaint that each must raise. Several changes stand with a space between.
var contradictions = map[string][][2]string{
	"sigkill": {
		{"kills=0", "nothing was killed"},
		{"ways.0.acked=0", "no record was acked"},
		{"ways.0.lost=1", "store into a mapping: 1 of"},
		{"ways.1.lost=2", "write(2): 2 of"},
		{"ways.2.lost=0", "all 21926 records survived"},
		{"ways=[]", "nothing was measured"},
	},
	"sigbus": {
		{"cells.12.guarded.kind=done", "guarded: done instead of FaultError"},
		{"cells.12.unguarded.kind=done", "unguarded: done instead of SIGBUS"},
		{"cells.12.unguarded.si_code=4", "si_code 4"},
		{"cells.12.unguarded.offset=16384", "a fault at 16384 for an access at 8192"},
		{"cells.13.guarded.offset=4096", "a fault at 4096 for an access at 8256"},
		{"cells.17.unguarded.kind=SIGBUS", "instead of EFAULT"},
		{"cells.16.guarded.kind=other", "instead of done"},
		{"cells.7.guarded.lost=false", "in the end's page, store, guarded: lost without a signal: false"},
		{"cells.8.unguarded.lost=false", "lost without a signal: false"},
		{"cells.1.unguarded.lost=true", "lost without a signal: true"},
		{"cells.25.guarded.lost=false", "truncated, extended"},
		{"cells.31.unguarded.kind=SIGBUS", "truncated, extended"},
		{"cells.37.guarded.kind=FaultError", "hole, any, store"},
		{"cells.43.guarded.kind=done", "hole, full disk, any, store"},
		{"cells.48.unguarded.kind=done", "failed page-in, any, load"},
		{"cells=[]", "nothing was measured"},
	},
	"folio": {
		{"rows.0.most_dirtied_bytes=8192", "writes of 4096, a store of 100 bytes dirties up to 8192"},
		{"rows.3.most_dirtied_bytes=4096", "writes of 2 MiB, a store of 100 bytes dirties up to 4096"},
		{"rows.3.most_dirtied_bytes=4096 rows.3.free_blocks=-1", "dirties up to 4096"},
	},
	"torn": {
		{"states.5.device=nnn-", "pages x.x. were written back, the device has nnn-"},
		{"states.5.device=n---", "the device has n---"},
		{"states.5.device=n?n-", "the device has n?n-"},
		{"states.5.dirty_pages=1", "1 are dirty"},
		{"states.5.device=o-n- states.5.disturbed=1", "the device has o-n-"}, // nobody's sync loses a page
		{"states.5.device=?-n- states.5.disturbed=1", "the device has ?-n-"},
		{"states.5.device=nnn- states.5.tries=30 states.5.disturbed=14", "the device has nnn-"},
		{"states.5.written_back=x...", "15 of 16 subsets"},
		{"states=[]", "nothing was measured"},
	},
	"lazy": {
		{"steps.0.mapped_pages=1", "mapping alone brought 1 pages"},
		{"steps.0.cached_pages=4096", "16 MiB instead of up to 8 MiB"},
		{"steps.1.cached_pages=2", "8192 instead of up to 4096"},
		{"steps.1.cached_pages=0", "left nothing in memory"},
		{"steps.1.cached_pages=0 steps.1.read_bytes=0", "neither from the device nor from memory"},
		{"steps.1.cached_pages=2 steps.1.reclaimed_pages=9", "8192 instead of up to 4096"}, // memory that is short brings no page
	},
	"warm": {
		{"passes.0.major_faults=0", "no major fault"},
		{"passes.0.read_bytes=4096", "read 4096 of 16 MiB"},
		{"passes.1.minor_faults=4096", `"again" took 4096 minor`},
		{"passes.1.major_faults=17", `"again" took 17 major`},
		{"passes.0.read_bytes=4096 passes.0.reclaimed_pages=9", "read 4096 of 16 MiB"},
		{"passes.2.minor_faults=0", "took no fault"},
		{"passes.2.minor_faults=9000", "took 9000 minor faults"},
		{"passes.2.major_faults=4096", "took 4096 major"},
		{"passes.3.minor_faults=257", `"populated" took 257 minor`},
	},
	"hints": {
		{"rows.2.major_faults=3", "took 3 faults, 3 of them major"},
		{"rows.2.major_faults=511 rows.2.minor_faults=513", "took 1024 faults, 511 of them major"},
		{"rows.2.major_faults=959", "took 959 faults"},
		{"rows.2.cached_pages=900", "left 900 in memory"},
		{"rows.2.cached_pages=2048 rows.2.reclaimed_pages=9", "brought in 2048"},
		{"rows.2.cached_pages=2048", "brought in 2048"},
		{"rows.7.cached_pages=8192", "128 pages (random) brought in 8192"},
		{"rows.3.pages_ahead=5", "MADV_WILLNEED for 1024 pages brought in 5"},
		{"rows.3.major_faults=65", "took 65 major faults"},
		{"rows.4.pages_ahead=0", "brought in nothing"},
		{"rows.0.pages_ahead=7", "7 pages came before the first load"},
		{"rows.1.major_faults=1024", "hint sequential 1024 pages in order took 1024"},
	},
	"thrash": {
		{"rows.0.read_bytes=4096", "scan in order: of 64 MiB only 4096"},
		{"rows.1.read_bytes=4096", "scan again"},
		{"rows.2.read_bytes=4096", "regexp match"},
		{"rows.3.read_bytes=300", "random 8 bytes: 32 loads read 300"},
		{"rows.4.major_faults=10", "only 10 were major faults"},
		{"rows.4.read_bytes=8", "read only 8"},
		{"rows.7.read_bytes=0", "that scan"},
		{"rows=[]", "nothing was measured"},
	},
	"evict": {
		{"rows.0.cached_after=65", "(clean) 65 stayed"},
		{"rows.1.cached_after=0", "(clean, mapped) only 0 stayed"},
		{"rows.3.cached_after=9", "(dirty, mapped) only 9 stayed"},
		{"rows.0.writeback_after=4", "were to be written"},
		{"rows.1.dirty_after=4", "were to be written"},
		{"rows.2.wrong_pages=1", "1 pages (dirty) were dropped"},
		{"rows.2.wrong_pages=1 rows.2.reclaimed_pages=9 rows.2.dirty_before=0", "1 pages (dirty) were dropped"},
	},
	"fsyncgate": {
		{"rows.0.first=nil", "ext4, EIO for the data, write, fsync: the first sync says nil instead of EIO"},
		{"rows.1.second=EIO", "ext4, EIO for the data, store, msync: the second sync says EIO instead of nil"},
		{"rows.6.before=nil", "xfs, EIO for the data, write, fsync: a descriptor that was open before says nil"},
		{"rows.7.before_again=EIO", "that one again says EIO"},
		{"rows.12.after=EIO", "btrfs NOCOW, EIO for the data, write, fsync: a descriptor that was opened after says EIO"},
		{"rows.18.device=new", "btrfs, EIO for the data, write, fsync: the device holds the page as new"},
		{"rows.0.remounted=new", "after a remount the page is new"},
		{"rows.0.dirty_pages=1", "the page is dirty still"},
		{"rows.0.cache=old", "the page cache holds the page as old"},
		{"rows.4.first=nil", "EIO for each write, write, fsync: the first sync says nil"},
		{"rows.5.device=new", "EIO for each write, store, msync: the device holds"},
		{"rows.10.remounted=other", "xfs, EIO for each write, write, fsync: after a remount the page is other"},
		{"rows.0.device=new rows.0.reclaimed_pages=9", "the device holds the page as new"},
		{"rows.0.second=EIO rows.2.first=nil", "the second sync says EIO"},
		{"rows=[]", "nothing was measured"},
	},
	"stale-cache": {
		{"rows.0.page=old", "ext4, read: what is read is old instead of new"},
		{"rows.1.page=old", "mapping: what is read is old"},
		{"rows.2.page=new", "ext4, O_DIRECT: what is read is new"},
		{"rows.2.page=new rows.2.reclaimed_pages=9", "ext4, O_DIRECT: what is read is new"},
		{"rows.3.page=new", "into new memory: what is read is new"},
		{"rows.13.page=old", "xfs, read, dropped while mapped: what is read is old"},
		{"rows.23.page=new", "btrfs NOCOW, read, dropped: what is read is new"},
		{"rows.33.page=new", "btrfs, read, remounted: what is read is new"},
		{"rows.7.page=old", "after a store: what is read is old"},
		{"rows.17.page=old", "after a store, remounted: what is read is old"},
		{"rows.0.device=new", "ext4, read: what the device holds is new instead of old"},
		{"rows.7.device=old", "what the device holds is old instead of new"},
		{"rows.21.device=new", "btrfs NOCOW, O_DIRECT, into new memory: what the device holds is new"},
		{"rows.0.read_by=nothing", "instead of"},
		{"rows=[]", "nothing was measured"},
	},
}

// disturbances are changes to the same measurements that a busy machine may bring
// about, and a word of what is said of the noise.
var disturbances = map[string][][2]string{
	"folio": {
		{"rows.3.dirtied_bytes=0", "2 MiB"},
		{"rows.3.most_dirtied_bytes=65536 rows.3.free_blocks=7", "only 7 pieces of memory"},
	},
	"torn": {
		{"states.5.device=nnn- states.5.dirty_pages=1 states.5.tries=30 states.5.disturbed=15", "in 15 of 30 tries"},
		{"states.5.device=n?no states.5.disturbed=1", "in 1 of 1 tries"}, // read while it was written
	},
	"lazy": {
		{"steps.0.cold_pages=1 steps.0.mapped_pages=1", "another process reads the file"},
		{"steps.1.read_bytes=0", "read nothing from the device: another process has"},
		{"steps.1.cached_pages=0 steps.1.reclaimed_pages=9", "left nothing in memory; in the meantime the kernel"},
	},
	"warm": {
		{"passes.1.minor_faults=4096 passes.1.reclaimed_pages=9", `"again" took 4096 minor`},
		{"passes.2.minor_faults=9000 passes.2.reclaimed_pages=9", "took 9000 minor faults"},
		{"passes.3.major_faults=17 passes.3.reclaimed_pages=1", "reclaimed or moved 1 pages"},
	},
	"hints": {
		{"rows.2.cached_pages=900 rows.2.reclaimed_pages=9", "left 900 in memory; in the meantime"},
		{"rows.3.major_faults=65 rows.3.pages_pending=200", "200 pages of MADV_WILLNEED had not come"},
		{"rows.3.major_faults=65 rows.3.reclaimed_pages=9", "took 65 major faults; in the meantime"},
		{"rows.3.pages_ahead=5 rows.3.reclaimed_pages=9", "brought in 5; in the meantime"},
		{"rows.1.major_faults=1024 rows.1.reclaimed_pages=9", "took 1024 major faults; in the meantime"},
	},
	"evict": {
		{"rows.0.cached_after=65 rows.0.reclaimed_pages=9", "(clean) 65 stayed; in the meantime"},
		{"rows.3.cached_after=9 rows.3.reclaimed_pages=9", "only 9 stayed; in the meantime"},
		{"rows.2.dirty_before=0", "only 0 of 1024 written pages (dirty)"},
	},
	"fsyncgate": {
		{"rows.2.first=nil", "ext4, EIO for a flush, write, fsync: the first sync says nil: another process"},
		{"rows.0.cache=old rows.0.reclaimed_pages=9", "holds the page as old; in the meantime"},
	},
	"stale-cache": {
		{"rows.0.page=old rows.0.reclaimed_pages=9", "ext4, read: what is read is old instead of new; in the meantime"},
		{"rows.7.device=other rows.7.reclaimed_pages=9", "what the device holds is other instead of new; in the meantime"},
	},
}

// tolerances are changes that leave the verdict as expected: nothing hangs on a
// single page.
var tolerances = map[string][]string{
	"folio": {"rows.3.least_dirtied_bytes=0", "rows.3.free_blocks=0"},
	"torn":  {"states.5.tries=30 states.5.disturbed=29"},
	"lazy":  {"steps.0.major_faults=0", "steps.0.cached_pages=1"},
	"warm": {
		"passes.1.minor_faults=256", "passes.2.read_bytes=8388608 passes.2.major_faults=1", "passes.1.reclaimed_pages=9",
		"passes.2.minor_faults=1",
	},
	"hints": {
		"rows.2.major_faults=1023", "rows.2.major_faults=960", "rows.2.major_faults=600 rows.2.minor_faults=424",
		"rows.7.major_faults=127", "rows.2.cached_pages=1030", "rows.3.major_faults=64", "rows.3.pages_pending=200",
	},
	"thrash": {"rows.4.read_bytes=1000000", "rows.7.read_bytes=30000000 rows.6.read_bytes=20000000", "rows.5.minor_faults=1000"},
	"fsyncgate": {
		"rows.0.dirty_pages=-1", "rows.2.second=EIO rows.2.device=old rows.2.remounted=old", "rows.4.second=nil rows.4.after=EROFS",
		"rows.22.after=nil",
	},
	"stale-cache": {"rows.21.page=old rows.30.page=old", "rows.0.reclaimed_pages=9"}, // btrfs may read the device
	"evict":       {"rows.0.cached_after=64", "rows.1.cached_after=960", "rows.2.dirty_before=960", "rows.2.cached_after=0"},
}

// TestJudge: a measurement that bears the hypothesis out is as expected, one that
// contradicts it differs, with the reason, and of one that others may have spoilt
// it cannot be told.
func TestJudge(t *testing.T) {
	for _, e := range experiment.All() {
		data, err := os.ReadFile(filepath.Join("testdata", e.Name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		check := func(change string, verdict experiment.Verdict, word string) {
			t.Helper()
			v, why, err := experiment.CheckMeasurement(e.Name, changed(t, data, change))
			if v != verdict || err != nil || !strings.Contains(strings.Join(why, "\n"), word) {
				t.Errorf("%s with %q: %s, %q, %v; want %s: %q", e.Name, change, v, why, err, verdict, word)
			}
		}
		check("", experiment.AsExpected, "")
		if len(contradictions[e.Name]) == 0 {
			t.Errorf("%s: no measurement contradicts it", e.Name)
		}
		for _, c := range contradictions[e.Name] {
			check(c[0], experiment.Differs, c[1])
		}
		for _, c := range disturbances[e.Name] {
			check(c[0], experiment.TooNoisy, c[1])
		}
		for _, change := range tolerances[e.Name] {
			check(change, experiment.AsExpected, "")
		}
	}
}

// TestTries: what was too noisy is measured again, a few times, and nothing else.
func TestTries(t *testing.T) {
	for _, c := range []struct {
		found   string
		tries   int
		verdict experiment.Verdict
	}{
		{"e", 1, experiment.AsExpected},
		{"d", 1, experiment.Differs},
		{"c", 1, experiment.CannotRun},
		{"ne", 2, experiment.AsExpected},
		{"nd", 2, experiment.Differs},
		{"Nne", 3, experiment.AsExpected},
		{"nnn", 3, experiment.TooNoisy},
		{"nNN", 3, experiment.TooNoisy},
	} {
		dir := t.TempDir()
		r, err := experiment.Scripted(c.found).Run(t.Context(), experiment.Env{Dir: dir})
		if err != nil || r.Verdict != c.verdict || r.Tries != c.tries || (len(r.Why) == 0) != (c.verdict == experiment.AsExpected) {
			t.Errorf("%s: %+v, %v; want %s after %d tries", c.found, r, err, c.verdict, c.tries)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", c.found, left, err)
		}
	}
}

// changed returns a measurement with values replaced.
func changed(t *testing.T, data []byte, changes string) []byte {
	t.Helper()
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, change := range strings.Fields(changes) {
		replace(t, doc, change)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// replace replaces one value of a document.
func replace(t *testing.T, doc any, change string) {
	t.Helper()
	path, text, _ := strings.Cut(change, "=")
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		value = text
	}
	steps := strings.Split(path, ".")
	at := doc
	for i, step := range steps {
		last := i == len(steps)-1
		switch node := at.(type) {
		case map[string]any:
			if _, there := node[step]; !there {
				t.Fatalf("%s: there is no %s", change, step)
			}
			if last {
				node[step] = value
			}
			at = node[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(node) {
				t.Fatalf("%s: there is no %s", change, step)
			}
			at = node[n]
		}
	}
}
