//go:build linux

package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

// ErrCheck reports a command of a Program's Check or Legal that cannot be run, does
// not end, or accepts no state at all: that is no finding. Its words are the
// command's last ones; run it by hand.
var ErrCheck = errors.New("kill: the check could not be run")

// The exit codes by which a shell says that a command was not run.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
	codeSignal        = 128 // and the number of the signal
)

// sentSignals are those that another process sends: a check that was ended by one of
// them has given no answer. The other signals come from a fault of the process itself.
var sentSignals = []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGXCPU}

// ask runs one of the commands on what a life has left. It returns how the command
// refuses that, or nothing where it accepts it.
func (p *program) ask(command, dir string, acks campaign.Acks) (refusal string, err error) {
	file := filepath.Join(filepath.Dir(dir), "acks")
	if p.acks != nil {
		file = p.acks(dir)
	}
	text := strings.Join(acks, "\n")
	if len(acks) > 0 {
		text += "\n"
	}
	if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	said := &child.Tail{}
	status, err := p.run(shell(command, dir, file), said)
	if err != nil {
		return "", err
	}
	how, ran := exitText(status)
	if words := lastLine(said.Text()); words != "" {
		how += ": " + words
	}
	switch {
	case !ran:
		return "", fmt.Errorf("%w: %s", ErrCheck, how)
	case status == 0:
		return "", nil
	}
	return how, nil
}

// run runs a command to its end, and ends it with the campaign.
func (p *program) run(cmd *exec.Cmd, said *child.Tail) (syscall.WaitStatus, error) {
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second // for what it left behind, with its descriptors
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	var werr error
	go func() {
		werr = cmd.Wait() // mostly what the status says
		close(done)
	}()
	timer := time.NewTimer(p.Timeout)
	defer timer.Stop()
	var err error
	select {
	case <-done:
	case <-timer.C:
		err = errors.Join(fmt.Errorf("%w: it did not end within %v", ErrCheck, p.Timeout), killGroup(cmd))
		<-done
	case <-p.over:
		err = errors.Join(context.Canceled, killGroup(cmd))
		<-done
	}
	_ = killGroup(cmd) // what it left behind
	if cmd.ProcessState == nil {
		return 0, errors.Join(err, werr)
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status, err
}

// exitText tells how a command has ended, and whether it was run at all: a shell
// that was not killed itself tells of the signal by its exit code.
func exitText(status syscall.WaitStatus) (text string, ran bool) {
	code := status.ExitStatus()
	signal := status.Signal()
	if !status.Signaled() && code > codeSignal {
		signal = syscall.Signal(code - codeSignal)
	}
	switch name := unix.SignalName(signal); {
	case code == codeNotFound:
		return "exit code 127, a command was not found", false
	case code == codeNotExecutable:
		return "exit code 126, a command cannot be executed", false
	case signal > 0 && name != "":
		return "it died of " + name, !slices.Contains(sentSignals, signal)
	}
	return fmt.Sprintf("exit code %d", code), true
}

// lastLine returns the last line of a text.
func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }
