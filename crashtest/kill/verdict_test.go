//go:build linux

package kill_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// scriptOrphan leaves the work to a process that it does not wait for, which begins
// once the script has ended.
const scriptOrphan = `p=$$; { until grep -q ') Z ' /proc/$p/stat; do sleep 0.01; done; echo ack 1; echo ack 2; echo done; } & exit 0`

// TestNoVerdict: a campaign that could verify nothing says so, and why.
func TestNoVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, workload string
		timeout        time.Duration
		says           []string
	}{
		{"says nothing", "sleep 1000; : {dir}", time.Second, []string{"no acknowledgement was seen within 1s"}},
		{"has another word", `while echo "acknowledged 1"; do sleep 0.1; done; : {dir}`, time.Second, []string{"no acknowledgement was seen within 1s", "last words: acknowledged 1"}},
		{"keeps its lines", "sh -c 'echo ack 1; sleep 1000; : {dir}' | { read line; sleep 1000; }", time.Second, []string{"no acknowledgement was seen"}},
		{"ends at once", "true", 0, []string{"ended by itself after 0 records;"}},
		{"ends with words", "echo working; echo no more space >&2", 0, []string{"ended by itself after 0 records; its last words: no more space"}},
		{"fails", "echo cannot >&2; exit 7", 0, []string{"ended by itself after 0 records, with exit status 7; its last words: cannot"}},
		{"cannot be run", "exec /nonexistent/program", 0, []string{"with exit status 127", "nonexistent"}},
		{"dies", "kill -ABRT $$", 0, []string{"ended by itself after 0 records, by SIGABRT"}},
		{"ends after a record", "echo ack 1", 0, []string{"ended by itself after 1 record;", "go on until it is killed"}},
		{"fails after records", "echo ack 1; exit 3", 0, []string{"after 1 record, with exit status 3"}},
		{"ends before the kills", scriptOrphan, 0, []string{"each of ", " lives ended by itself before it could be killed", "its last words: done"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := kill.Run(t.Context(), kill.Options{
				// The budget is over before it begins: it ends nothing that was not tried.
				Limits:  campaign.Limits{Dir: fastDir(t), Budget: 1},
				Program: kill.Program{Workload: c.workload, Check: "true", Timeout: c.timeout},
			})
			must(t, err)
			verdict := r.Verdict()
			if !errors.Is(verdict, campaign.ErrUnverified) || r.Distinct > 0 || len(r.Findings) > 0 || len(r.Unverified) == 0 {
				t.Fatalf("%v, %+v", verdict, r.Result)
			}
			for _, words := range c.says {
				if !strings.Contains(verdict.Error(), words) {
					t.Errorf("it does not say %q: %v", words, verdict)
				}
			}
		})
	}
}

// TestVerdict: what acknowledges is killed at work, however short the budget and slow
// the workload.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, workload := range []string{scriptGood, "sleep 3; " + scriptGood, "echo ack 1; sleep 0.5; echo ack 2; sleep 1000; : {dir}"} {
		r, err := kill.Run(t.Context(), kill.Options{
			Limits:  campaign.Limits{Dir: fastDir(t), Budget: 1, Cores: 1},
			Program: kill.Program{Workload: workload, Check: "true"},
		})
		must(t, err)
		if err := r.Verdict(); err != nil || r.Distinct != 1 || r.Survival.Kills[0].Recovered != nil {
			t.Errorf("%s: %v, %+v", workload, err, r.Result)
		}
	}
}

// TestSilent: a workload that does not go on after a kill ends the campaign.
func TestSilent(t *testing.T) {
	t.Parallel()
	workload := "test ! -e {dir}/begun && touch {dir}/begun && while echo ack 1; do sleep 0.01; done; sleep 1000"
	r, err := kill.Run(t.Context(), kill.Options{
		Limits:  campaign.Limits{Dir: fastDir(t)},
		Program: kill.Program{Workload: workload, Check: "true", Timeout: time.Second},
	})
	if err == nil || !strings.Contains(err.Error(), "does the workload go on in the directory of one that was killed?") {
		t.Errorf("%v, %+v", err, r.Result)
	}
}
