//go:build linux

package kill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a child of the lab that lives some lives.
type process struct {
	cmd    *exec.Cmd
	boards *boards
	told   chan byte // closed when nobody of the child is left
	said   *limited
}

// newCommand returns a command in a process group of its own, which dies with
// this process and does not see the signals of the terminal: those are this
// process's to deal with.
func newCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// startChild starts this binary as a child. The boards stay the caller's.
func startChild(o *Options, args childArgs, bs *boards) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: newCommand(self, o.Args...), boards: bs, told: make(chan byte, 4*len(args.Lives)), said: &limited{}}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(encoded))
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
		return &deathError{fmt.Sprintf("%v: %s", status.Signal(), p.said.text())}
	}
	text := p.said.text()
	if strings.Contains(text, "panic: ") || strings.Contains(text, "fatal error: ") {
		return &deathError{text}
	}
	return fmt.Errorf("kill: a child ended by itself: %w: %s", err, text)
}

// deathError is a death that nobody sent.
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

// limited keeps the first bytes of what a child says.
type limited struct {
	mu   sync.Mutex
	kept []byte
}

var _ io.Writer = (*limited)(nil)

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	const enough = 4096
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, p[:min(len(p), max(0, enough-len(l.kept)))]...)
	return len(p), nil
}

// text returns what was kept.
func (l *limited) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.kept))
}
