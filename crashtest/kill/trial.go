//go:build linux

package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// trialAcks is how many acknowledgements a program has to give in its trial before it
// is ended: one that ends by itself before cannot be killed at work.
const trialAcks = 2

// trialRuns are the runs of the workload that a check has, to accept what one leaves:
// after how many acknowledgements each is ended, and how much later. The later ones
// are for programs that acknowledge much before they write it.
var trialRuns = []struct {
	acks  int
	later time.Duration
}{{trialAcks, 0}, {100, 100 * time.Millisecond}, {1000, time.Second}}

// trial runs a program before a campaign kills it. It returns ErrCheck where one of
// its checks cannot be run, and false where the workload gives nothing to verify.
//
// A check is tried on states that a right check accepts, and a wrong program leaves:
// first on what a run of the workload leaves that was ended by SIGTERM, with all that
// it has acknowledged. Where that is refused the program may be wrong, which is for
// the campaign to find. So the check gets an empty directory, with an empty list,
// and then the first run's directory with fewer acknowledgements: some number of them
// is right for every program that loses the newest ones. A check that accepts none of
// these, in three runs, is one that never does: it fails at an import, or is wrong.
func (l *lab) trial(ctx context.Context) (goOn bool, err error) {
	p := l.o.Subject.(*program)
	left := []string{p.Check}
	if p.Legal != "" {
		left = append(left, p.Legal)
	}
	refusal := ""
	for n := range trialRuns {
		c := newChain(filepath.Join(l.dir, fmt.Sprintf("trial-%d", n)), l.o.Seed)
		if err := c.begin(); err != nil {
			return false, err
		}
		acks, why, err := p.tryWorkload(ctx, c, n)
		if err != nil || why != "" {
			l.tally.because(why)
			return false, err
		}
		for len(left) > 0 {
			if refusal, err = p.tryCheck(left[0], c.subjectDir(), acks, n == 0); err != nil {
				return false, err
			}
			if refusal != "" {
				break
			}
			left = left[1:]
		}
		if err := os.RemoveAll(c.dir); err != nil {
			return false, err
		}
		if len(left) == 0 {
			return true, nil
		}
	}
	return false, fmt.Errorf("%w, or accepts nothing: neither what the workload left when it was ended by SIGTERM, "+
		"with any number of its acknowledgements, nor an empty directory with none: %s", ErrCheck, refusal)
}

// tryWorkload runs the workload, for the n-th time, until it has acknowledged
// something, and ends it. It returns what was acknowledged, or why there is nothing to
// kill.
func (p *program) tryWorkload(ctx context.Context, c *chain, n int) (acks campaign.Acks, why string, err error) {
	w, err := p.start(c, trialRuns[n].acks)
	if err != nil {
		return nil, "", err
	}
	defer w.close()
	byItself := false
	if n == 0 {
		byItself = w.awaitTwo(ctx, p.Timeout)
	} else {
		w.awaitInstant(ctx, p.Timeout, trialRuns[n].later)
	}
	status, err := w.terminate(p.Timeout)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, "", err
	}
	switch {
	case byItself && (len(w.all) < trialAcks || status.ExitStatus() != 0):
		return nil, fmt.Sprintf("the workload ended by itself after %s%s%s; it has to go on until it is killed",
			records(len(w.all)), statusText(status), w.lastWords()), nil
	case len(w.all) == 0:
		return nil, fmt.Sprintf("no acknowledgement was seen within %v: the workload has to print lines `ack TOKEN`, and flush each%s",
			p.Timeout, w.lastWords()), nil
	}
	return w.all, "", nil
}

// records counts records in words.
func records(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}

// statusText tells of an end that was no success.
func statusText(status syscall.WaitStatus) string {
	switch {
	case status.Signaled():
		return ", by " + unix.SignalName(status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Sprintf(", with exit status %d", status.ExitStatus())
	}
	return ""
}

// tryCheck asks a check whether it accepts any of the states of a trial. It returns
// how it refused the first. A check that refuses two states which have nothing in
// common with the same words probably fails before it reads anything: then it is not
// asked about all the others in each run.
func (p *program) tryCheck(command, dir string, acks campaign.Acks, all bool) (refusal string, err error) {
	first, err := p.ask(command, dir, acks)
	if err != nil || first == "" {
		return "", err
	}
	empty := filepath.Join(filepath.Dir(dir), "empty", "life")
	if err = os.MkdirAll(empty, 0o700); err != nil {
		return "", err
	}
	if refusal, err = p.ask(command, empty, nil); refusal == first && !all {
		return first, err
	}
	for n := len(acks) - 1; n > 0 && refusal != "" && err == nil; n = fewer(n, len(acks)) {
		refusal, err = p.ask(command, dir, acks[:n])
	}
	if err != nil || refusal == "" {
		return "", err
	}
	return first, nil
}

// fewer returns the number of acknowledgements that is tried after n of all: one less
// at the end, and half as many before that.
func fewer(n, all int) int {
	if n > all-16 {
		return n - 1
	}
	return n / 2
}

// awaitTwo waits until so much was acknowledged that a kill can come in between, and
// reports whether the workload has ended by itself before.
func (w *running) awaitTwo(ctx context.Context, timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-w.reached:
	case <-w.ended:
		return w.awaitExit(ctx, timer.C)
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// awaitExit waits until the workload's own process has ended, whose output has, and
// reports whether it did.
func (w *running) awaitExit(ctx context.Context, late <-chan time.Time) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, w.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == nil && info.Signo != 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return err == nil
		}
		select {
		case <-late:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
}

// terminate asks the workload to end, kills it where it does not, and returns how
// its own process has ended.
func (w *running) terminate(timeout time.Duration) (syscall.WaitStatus, error) {
	if err := unix.Kill(-w.cmd.Process.Pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, err
	}
	timer := time.NewTimer(min(timeout, programPatience))
	defer timer.Stop()
	select {
	case <-w.ended: // no process has its output open any more
	case <-timer.C:
	}
	return w.kill()
}
