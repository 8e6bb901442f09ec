//go:build linux

package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

// Subject returns the program as a subject of a campaign that runs the workload itself, by
// Record, and does not kill it. What is known are campaign.Acks; checks end with over, and find
// {acks} in the file that acks says. Whether a check could be run is for CheckError to say.
func (p Program) Subject(over <-chan struct{}, acks func(dir string) string) campaign.Subject {
	if p.Timeout == 0 {
		p.Timeout = defaultTimeout
	}
	return &program{Program: p, over: over, acks: acks}
}

// CheckError returns the ErrCheck of a command that could not be run, where what was found
// is a program's, or nil.
func CheckError(f campaign.Found) error {
	if found, ok := f.(*programFound); ok {
		return found.err
	}
	return nil
}

// ErrWorkload reports a workload that has ended by itself with another exit code than 0.
var ErrWorkload = errors.New("kill: the workload failed")

// Starter starts a command that may be watched, and returns what is to be called when it has
// ended.
type Starter func(*exec.Cmd) (end func() error, err error)

// Record runs the workload in dir to its end, or ends it after so long by SIGKILL. Its standard
// output, with the acknowledgements, goes to out; acks is the file that {acks} stands for. The
// starter, if not nil, starts it.
func (p Program) Record(ctx context.Context, dir, acks string, out *os.File, long time.Duration, start Starter) (err error) {
	cmd := shell(p.Workload, dir, acks)
	said := &child.Tail{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, time.Second
	if start == nil {
		start = func(cmd *exec.Cmd) (func() error, error) { return func() error { return nil }, cmd.Start() }
	}
	end, err := start(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	defer func() { _ = killGroup(cmd) }() // what it leaves behind, and in a panic
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case err = <-done:
	case <-timer.C:
		err = errors.Join(killGroup(cmd), <-done)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), killGroup(cmd), <-done)
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case err != nil:
		return fmt.Errorf("%w%s: %s", ErrWorkload, statusText(status), lastLine(said.Text()))
	}
	return nil
}
