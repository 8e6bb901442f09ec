//go:build linux

package kill_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// TestCheckCannot: a check that cannot be run, or accepts nothing, is no finding.
func TestCheckCannot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, check, legal, says string }{
		{"not found", "no-such-command {dir}", "", "exit code 127, a command was not found: "},
		{"not executable", "/etc/passwd {dir}", "", "exit code 126"},
		{"killed", "kill -KILL $$", "", "it died of SIGKILL"},
		{"killed below a shell", "sh -c 'kill -TERM $$'; exit $?", "", "it died of SIGTERM"},
		{"dies of itself", "echo broken; kill -SEGV $$", "", "accepts nothing: neither what the workload left"},
		{"refuses all", "echo never; exit 1", "", "accepts nothing: neither what the workload left"},
		{"fails at an import", `python3 -c 'import no_such_module'`, "", "No module named"},
		{"legal not found", "true", "no-such-command {dir}", "exit code 127"},
		{"legal refuses all", "true", "false", "accepts nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("python3"); err != nil && strings.HasPrefix(c.check, "python3") {
				cannot(t, err)
			}
			r, err := kill.Run(t.Context(), kill.Options{
				Limits:  campaign.Limits{Dir: fastDir(t), States: 5},
				Program: kill.Program{Workload: scriptGood, Check: c.check, Legal: c.legal},
			})
			if !errors.Is(err, kill.ErrCheck) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if len(r.Findings) > 0 || r.Distinct > 0 || r.Verdict() == nil {
				t.Errorf("%+v", r.Result)
			}
		})
	}
}

// TestCheckLater: a check that could be run once, and cannot later, ends the campaign;
// one that dies of what it finds is a finding.
func TestCheckLater(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		check string
		err   error
	}{
		{"test $(wc -l < {acks}) -lt 200 || exit 127", kill.ErrCheck},
		{"test $(wc -l < {acks}) -lt 200 || kill -TERM $$", kill.ErrCheck},
		{"test $(wc -l < {acks}) -lt 200 || kill -SEGV $$", nil},
	} {
		r, err := kill.Run(t.Context(), kill.Options{
			Limits:  campaign.Limits{Dir: fastDir(t), Seed: 1},
			Program: kill.Program{Workload: scriptGood, Check: c.check},
		})
		if !errors.Is(err, c.err) || (c.err == nil) != (len(r.Findings) == 1) {
			t.Errorf("%s: %v, %+v", c.check, err, r.Result)
		}
	}
}

// TestTrial: a right check of a wrong program passes its trial, whatever the program
// has left, and the campaign finds what is wrong.
func TestTrial(t *testing.T) {
	t.Parallel()
	const (
		// The natural check of a program that numbers its records. It refuses a
		// directory without any.
		check = `have=$(wc -l < {dir}/lines) && last=$(tail -n 1 {acks}) && test $have -gt ${last:-0} && test $have -le $((last+2))`
		// buffering writes eight records at once, and acknowledges each before.
		buffering = scriptBegin + `while :; do for i in 1 2 3 4 5 6 7 8; do echo "ack $n"; b="$b$n $n\n"; n=$((n+1)); sleep 0.001; done; printf "$b" >> {dir}/lines; b=; done`
	)
	for _, c := range []struct {
		workload string
		found    int
	}{{scriptGood, 0}, {scriptEarly, 1}, {buffering, 1}} {
		r, err := kill.Run(t.Context(), kill.Options{
			Limits:  campaign.Limits{Dir: fastDir(t), Seed: 1, States: 40},
			Program: kill.Program{Workload: c.workload, Check: check},
		})
		must(t, err)
		if len(r.Findings) != c.found {
			t.Errorf("%s: %+v", c.workload, r.Result)
		}
	}
}
