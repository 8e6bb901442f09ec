//go:build linux

package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

// process is a child of the lab that runs some lives.
type process struct {
	cmd    *exec.Cmd
	boards *boards
	told   chan byte // closed when no process of the child is left
	said   *child.Output
}

// startChild starts this binary as a child. The boards stay the caller's.
func startChild(o *Options, args childArgs, bs *boards) (*process, error) {
	cmd, err := child.Self(context.Background(), childEnv, args, o.Args...) // the caller kills it
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, boards: bs, told: make(chan byte, 4*len(args.Lives)), said: &child.Output{}}
	p.cmd.ExtraFiles = []*os.File{bs.file, w}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	err = p.cmd.Start()
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	go p.listen(r)
	return p, nil
}

// listen reads what the child tells, until its end.
func (p *process) listen(r *os.File) {
	defer close(p.told)
	defer func() { _ = r.Close() }()
	b := make([]byte, 16)
	for {
		n, err := r.Read(b)
		for _, what := range b[:n] {
			p.told <- what
		}
		if err != nil {
			return
		}
	}
}

// end kills the process and what it has started, waits until they are gone, and
// returns an error where it was not SIGKILL that ended it.
func (p *process) end() error {
	kerr := killGroup(p.cmd)
	for range p.told {
		// What is left of it.
	}
	err := p.cmd.Wait()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		if status.Signal() == syscall.SIGKILL {
			return kerr
		}
		return &deathError{fmt.Sprintf("%v: %s", status.Signal(), p.said.Text())}
	}
	text := p.said.Text()
	if strings.Contains(text, "panic: ") || strings.Contains(text, "fatal error: ") {
		return &deathError{text}
	}
	return fmt.Errorf("kill: a child ended by itself: %w: %s", err, text)
}

// deathError is the death of a child that the lab did not kill.
type deathError struct{ how string }

// Error implements error.
func (e *deathError) Error() string { return "died by itself: " + e.how }

// killGroup kills a command's process group. That it is gone is no error.
func killGroup(cmd *exec.Cmd) error {
	err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
