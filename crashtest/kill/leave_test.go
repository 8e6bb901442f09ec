//go:build linux

package kill_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
)

// TestInterrupted: nothing is left when a campaign is interrupted, whatever it is
// about. fastDir looks.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, o := range []kill.Options{{Subject: &seawall.Log{}}, {Program: kill.Program{Workload: "sh -c 'sleep 1000; : {dir}/sleeps' & " + scriptGood, Check: scriptCheck}}} {
		for after := range 3 {
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(after*60)*time.Millisecond)
			o.Limits = campaign.Limits{Seed: uint64(after), Dir: fastDir(t)}
			r, err := kill.Run(ctx, o)
			stop()
			must(t, err)
			if r.Stopped != "interrupted" || len(r.Findings) > 0 {
				t.Errorf("%+v", r.Result)
			}
		}
	}
}

// TestPanic: nothing is left when the campaign's own process panics.
func TestPanic(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	func() {
		defer func() {
			if v := recover(); v != "in the test" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, err := kill.Run(t.Context(), kill.Options{
			Limits: campaign.Limits{Dir: dir}, Subject: &seawall.Log{},
			OnKill: func(kill.Kill) { panic("in the test") },
		})
		t.Errorf("Run returned: %v", err)
	}()
}

// TestOrphans: children die with the process that runs the campaign, also when
// that is killed.
func TestOrphans(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	lab := exec.Command(os.Args[0])
	lab.Env = append(os.Environ(), labEnv+"="+dir)
	lab.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := lab.StdoutPipe()
	must(t, err)
	must(t, lab.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	for end := time.Now().Add(30 * time.Second); len(processesOf(dir)) == 0 && time.Now().Before(end); {
		// Until a child is at work, which goes on for long if nobody kills it.
	}
	must(t, lab.Process.Kill())
	_ = lab.Wait() // it was killed
	if line != "killed\n" {
		t.Errorf("the campaign says %q", line)
	}
	for range 500 {
		if len(processesOf(dir)) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	mustBeAlone(t, dir)
	// Files are left by one who is killed, and by nobody else.
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		must(t, os.RemoveAll(dir+"/"+e.Name()))
	}
}
