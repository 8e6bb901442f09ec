//go:build linux

package kill_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// The scripts append numbered lines to a file, in one way each, and go on with
// what is there. A shell's printf is a write(2). The kernel copies that page by
// page, and SIGKILL may end it between two; so lines take 16 bytes, and none lies
// in two pages.
const (
	scriptBegin  = `n=$(wc -l < {dir}/lines 2>/dev/null || echo 0); `
	scriptGood   = scriptBegin + `while :; do printf '%7d %7d\n' $n $n >> {dir}/lines; echo "ack $n"; n=$((n+1)); done`
	scriptEarly  = scriptBegin + `while :; do echo "ack $n"; sleep 0.001; printf '%7d %7d\n' $n $n >> {dir}/lines; n=$((n+1)); done`
	scriptHalves = scriptBegin + `while :; do printf '%s ' $n >> {dir}/lines; sleep 0.001; echo $n >> {dir}/lines; echo "ack $n"; n=$((n+1)); done`
	scriptLegal  = `touch {dir}/lines; awk '$1 != NR-1 || $2 != NR-1 {print "line " NR " is " $0; exit 1}' "{dir}/lines"`
	scriptCheck  = `awk 'FILENAME == ARGV[1] {have[$1] = 1; next} !($1 in have) {print $1 " is missing"; exit 1}' {dir}/lines "{acks}"`
)

// TestProgram kills scripts: the right one is clean, what is wrong is found, and
// found again by its token.
func TestProgram(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		workload string
		seeds    uint64
		kind     campaign.Kind // none for what is right
	}{
		{"good", scriptGood, 1, ""},
		{"acks before it writes", scriptEarly, times(1, 4), campaign.Lost},
		{"writes in two halves", scriptHalves, times(1, 4), campaign.Illegal},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := fastDir(t)
			for seed := range c.seeds {
				o := kill.Options{
					Limits:  campaign.Limits{Seed: seed, Dir: dir, States: 20},
					Program: kill.Program{Workload: c.workload, Check: scriptCheck, Legal: scriptLegal},
				}
				r, err := kill.Run(t.Context(), o)
				must(t, err)
				if c.kind == "" {
					if len(r.Findings) > 0 || r.Distinct != 20 || r.Survival.Acked == 0 {
						t.Errorf("%+v, %+v", r.Result, r.Survival)
					}
					continue
				}
				if len(r.Findings) != 1 || r.Findings[0].Kind != c.kind {
					t.Fatalf("seed %d: %d states, findings %+v", seed, r.Distinct, r.Findings)
				}
				if seed == 0 {
					mustReplay(t, kill.Options{Limits: o.Limits}, r.Findings[0])
				}
			}
		})
	}
}

// TestProgramDrained: whatever the program has said before its death is heard, also
// what lies in the pipe still. The script says many lines at once, right before it
// writes them.
func TestProgramDrained(t *testing.T) {
	t.Parallel()
	r, err := kill.Run(t.Context(), kill.Options{
		Limits: campaign.Limits{Seed: newSeed(t), Dir: fastDir(t), States: int64(times(8, 60))},
		Program: kill.Program{
			Workload: scriptBegin + `while :; do m=$((n+3999)); seq -f 'ack %.0f' $n $m; seq $n $m >> {dir}/lines; n=$((m+1)); done`,
			Check:    `n=$(wc -l < {dir}/lines || echo 0); test $n -le $(wc -l < {acks})`,
		},
	})
	must(t, err)
	if len(r.Findings) > 0 || r.Distinct < 8 {
		t.Errorf("%+v", r.Result)
	}
}

// TestProgramEnds: a check that goes on for ever ends with the campaign, or with its
// time.
func TestProgramEnds(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	r, err := kill.Run(ctx, kill.Options{
		Limits:  campaign.Limits{Dir: fastDir(t)},
		Program: kill.Program{Workload: scriptGood, Check: "sleep 1000; true {dir}"},
	})
	must(t, err)
	if len(r.Findings) > 0 || r.Stopped != "interrupted" {
		t.Errorf("%+v", r.Result)
	}
	r, err = kill.Run(t.Context(), kill.Options{
		Limits:  campaign.Limits{Dir: fastDir(t)},
		Program: kill.Program{Workload: scriptGood, Check: "sleep 1000; true {dir}", Timeout: time.Second},
	})
	if !errors.Is(err, kill.ErrCheck) || !strings.Contains(err.Error(), "did not end within 1s") || len(r.Findings) > 0 {
		t.Errorf("%v, %+v", err, r.Result)
	}
}

// TestQuote has the shell read back what was quoted.
func TestQuote(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/plain/path-1.0", "/a b", "/it's", `/"$HOME"`, "/a\nb", "/;rm -rf *", `/\`, "/ä"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+kill.Quote(path)).Output()
		if err != nil || string(out) != path {
			t.Errorf("%q: %q, %v", path, out, err)
		}
	}
	if got := kill.Quote("/plain/path"); got != "/plain/path" {
		t.Errorf("%q: it cannot stand between a command's own quotes", got)
	}
}
