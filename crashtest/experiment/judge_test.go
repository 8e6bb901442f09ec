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
// complaint that each must raise.
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
		{"rows.0.dirtied_bytes=8192", "writes of 4096, a store of 100 bytes dirties 8192"},
		{"rows.3.dirtied_bytes=4096", "writes of 2 MiB, a store of 100 bytes dirties 4096"},
	},
	"torn": {
		{"states.5.device=nnn-", "pages x.x. were written back, the device has nnn-"},
		{"states.5.device=n---", "the device has n---"},
		{"states.5.device=n?n-", "the device has n?n-"},
		{"states.5.dirty_pages=1", "1 are dirty"},
		{"states.5.written_back=x...", "15 of 16 subsets"},
		{"states=[]", "nothing was measured"},
	},
	"lazy": {
		{"steps.0.mapped_pages=1", "mapping alone brought 1 pages"},
		{"steps.0.cached_pages=4096", "16 MiB instead of up to 8 MiB"},
		{"steps.1.cached_pages=2", "8192 instead of up to 4096"},
		{"steps.1.cached_pages=0", "brought in 0"},
		{"steps.1.read_bytes=0", "read nothing"},
		{"steps.0.major_faults=0", "read nothing"},
	},
	"warm": {
		{"passes.0.major_faults=0", "no major fault"},
		{"passes.0.read_bytes=4096", "read 4096 of 16 MiB"},
		{"passes.1.minor_faults=4096", `"again" took 4096 minor`},
		{"passes.1.major_faults=1", `"again" took 1 major`},
		{"passes.2.minor_faults=0", "took 0 minor faults"},
		{"passes.2.minor_faults=9000", "took 9000 minor faults"},
		{"passes.2.read_bytes=4096", "read 4096"},
		{"passes.3.minor_faults=256", `"populated" took 256 minor`},
	},
	"hints": {
		{"rows.2.major_faults=3", "took 3 major faults"},
		{"rows.2.cached_pages=2048", "brought in 2048"},
		{"rows.7.cached_pages=8192", "128 pages (random) brought in 8192"},
		{"rows.3.pages_ahead=5", "MADV_WILLNEED for 1024 pages brought in 5"},
		{"rows.3.major_faults=1", "took 1 major faults"},
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
		{"rows.0.cached_after=1", "(clean) 1 stayed"},
		{"rows.1.cached_after=0", "(clean, mapped) only 0 stayed"},
		{"rows.3.cached_after=9", "(dirty, mapped) only 9 stayed"},
		{"rows.2.dirty_before=0", "only 0 of 1024 written pages (dirty)"},
		{"rows.0.writeback_after=4", "were to be written"},
		{"rows.1.dirty_after=4", "were to be written"},
		{"rows.2.wrong_pages=1", "1 pages (dirty) were dropped"},
	},
}

// TestJudge: a measurement that bears the hypothesis out is as expected, and one
// that contradicts it differs, with the reason.
func TestJudge(t *testing.T) {
	for _, e := range experiment.All() {
		data, err := os.ReadFile(filepath.Join("testdata", e.Name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if v, why, err := experiment.Judge(e.Name, data); v != experiment.AsExpected || err != nil {
			t.Errorf("%s: the measurement in testdata %s: %q, %v", e.Name, v, why, err)
		}
		if len(contradictions[e.Name]) == 0 {
			t.Errorf("%s: no measurement contradicts it", e.Name)
		}
		for _, c := range contradictions[e.Name] {
			v, why, err := experiment.Judge(e.Name, changed(t, data, c[0]))
			if v != experiment.Differs || err != nil || !strings.Contains(strings.Join(why, "\n"), c[1]) {
				t.Errorf("%s with %s: %s, %q, %v; want it to differ: %q", e.Name, c[0], v, why, err, c[1])
			}
		}
	}
}

// changed returns a measurement with one value replaced.
func changed(t *testing.T, data []byte, change string) []byte {
	t.Helper()
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
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
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
