//go:build linux

package kill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

// Program is any program under test, as two commands of the shell. In both,
// {dir} is replaced by the path of the directory that it lives in, and {acks} by
// that of a file: the tokens that it has acknowledged, one a line.
//
// The workload prints a line `ack TOKEN` as soon as it holds something durable;
// the lines `acked LSN` of `seawall append --ack` will do. It must write out
// each line at once: what it keeps in a buffer is not acknowledged. The check
// exits with 0 unless something acknowledged is missing, or something is there
// that may not be.
type Program struct {
	Workload string `json:"workload"`
	Check    string `json:"check"`
}

// program is the subject made of a Program.
type program struct {
	Program
	over <-chan struct{} // of the campaign: it ends checks, too
}

// Name implements campaign.Subject.
func (p *program) Name() string { return "program" }

// Workload implements campaign.Subject: it is the lab that starts the command.
func (p *program) Workload(*campaign.Life) error {
	return errors.New("kill: a program is no workload of a child")
}

// Recover implements campaign.Subject. The check cannot be asked before the
// acknowledgements are known.
func (p *program) Recover(dir string) (campaign.Found, error) {
	return &programFound{p: p, dir: dir}, nil
}

// programFound is what a program left.
type programFound struct {
	p   *program
	dir string
	err error // why the check could not be run: that is no finding
}

// Present implements campaign.Found.
func (f *programFound) Present(k campaign.Known, _ bool) error {
	acks, _ := k.(campaign.Acks)
	said := f.check(acks)
	if said == nil || len(acks) > 0 && f.check(nil) != nil {
		return nil // it fails whatever was acknowledged: it is Legal that says so
	}
	return &campaign.Broken{Kind: campaign.Lost, What: fmt.Sprintf("the check of %d acknowledgements fails: %s", len(acks), *said)}
}

// Legal implements campaign.Found.
func (f *programFound) Legal(campaign.Known, bool) error {
	said := f.check(nil)
	if said == nil {
		return nil
	}
	return &campaign.Broken{Kind: campaign.Illegal, What: "the check fails without any acknowledgement: " + *said}
}

// check runs the check, and returns what it said where it failed.
func (f *programFound) check(acks campaign.Acks) *string {
	code, said, err := f.run(acks)
	f.err = errors.Join(f.err, err)
	if err != nil || code == 0 {
		return nil
	}
	words := fmt.Sprintf("exit code %d: %s", code, lastLine(said))
	return &words
}

// run runs the check, and returns its exit code and its words.
func (f *programFound) run(acks campaign.Acks) (code int, words string, err error) {
	file := filepath.Join(filepath.Dir(f.dir), "acks")
	text := strings.Join(acks, "\n")
	if len(acks) > 0 {
		text += "\n"
	}
	if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
		return 0, "", err
	}
	cmd := shell(f.p.Check, f.dir, file)
	said := &child.Output{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second // for what it left behind, with its descriptors
	if err = cmd.Start(); err != nil {
		return 0, "", err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-f.p.over:
		err = errors.Join(killGroup(cmd), <-done, context.Canceled)
	}
	_ = killGroup(cmd) // what it left behind
	var exit *exec.ExitError
	switch {
	case errors.Is(err, context.Canceled):
		return 0, "", context.Canceled
	case errors.As(err, &exit):
		return exit.ExitCode(), said.Text(), nil
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil
	}
	return 0, said.Text(), err
}

// lastLine returns the last line of a text.
func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

// shell returns a command of the shell, with both paths filled in.
func shell(command, dir, acks string) *exec.Cmd {
	return child.Command(context.Background(), "/bin/sh", "-c", strings.NewReplacer("{dir}", quote(dir), "{acks}", quote(acks)).Replace(command))
}

// quote makes a word of the shell of a path. One that needs no quotes gets none,
// so that it may stand between quotes of the command's own.
func quote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@=", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// programLife is a life of a program.
type programLife struct {
	o     *Options
	chain *chain
}

// live implements liver: it starts the workload, kills it after so many
// acknowledgements and some time, and takes what is left in the pipe.
func (l *programLife) live(ctx context.Context) ([]death, error) {
	plan := &l.chain.lives[len(l.chain.lives)-1]
	if plan.Acks == 0 { // chosen here, as the seed says
		plan.choosePatience()
	}
	before, _ := l.chain.known.(campaign.Acks)
	dir := l.chain.subjectDir()
	file := filepath.Join(l.chain.dir, "acks")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := shell(l.o.Program.Workload, dir, file)
	said := &child.Output{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = w, said, time.Second
	if err = cmd.Start(); err != nil {
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	defer func() { _ = r.Close() }()
	defer func() { _ = killGroup(cmd) }() // also in a panic
	if err := w.Close(); err != nil {
		return nil, err
	}
	h := &hearing{all: before[:len(before):len(before)], enough: plan.Acks, reached: make(chan struct{}), ended: make(chan struct{})}
	go h.listen(r)
	atWork := h.awaitInstant(ctx, plan.Wait)
	// The kernel tells whether it is at work still: a process that has ended is a
	// zombie, and does not die of the kill.
	if err := killGroup(cmd); err != nil {
		return nil, err
	}
	werr := cmd.Wait()
	h.drain(r)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL
	if !killed && werr != nil && !errors.Is(werr, exec.ErrWaitDelay) {
		return nil, fmt.Errorf("kill: the workload ended by itself: %w: %s", werr, said.Text())
	}
	d := death{known: h.all, before: l.chain.known, place: Between, state: stateDone}
	if killed && atWork && len(h.all) > len(before) {
		d.state = stateAtWork
	}
	return []death{d}, nil
}

// choosePatience chooses when a program is killed.
func (p *Plan) choosePatience() {
	n := p.Seed % 1000
	p.Acks = 1 + int(n*n/10000) // up to a hundred, more often few
}

// hearing is what a program says.
type hearing struct {
	all     campaign.Acks
	heard   int
	enough  int
	reached chan struct{} // closed when so many were heard
	ended   chan struct{} // closed when nobody of the program is left
}

// programPatience is how long a program may go on without the acknowledgements
// that are waited for.
const programPatience = 2 * time.Second

// awaitInstant waits for the instant of the kill, and reports whether the program
// was at work until then.
func (h *hearing) awaitInstant(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(programPatience)
	defer timer.Stop()
	select {
	case <-h.reached:
	case <-timer.C:
	case <-h.ended:
		return false
	case <-ctx.Done():
		return false
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
	case <-h.ended:
		return false
	case <-ctx.Done():
		return false
	}
	return true
}

// drain waits until all that was said is heard: the pipe outlives the process.
// A process that left the program's process group may hold it open for ever; what that
// one says later is not the program's.
func (h *hearing) drain(r *os.File) {
	_ = r.SetReadDeadline(time.Now().Add(time.Second)) // a pipe has deadlines
	<-h.ended
}

// listen reads lines until the end. One without its end was not said.
func (h *hearing) listen(r io.Reader) {
	defer close(h.ended)
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		word, token, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || word != "ack" && word != "acked" {
			continue
		}
		h.all = append(h.all, token)
		if h.heard++; h.heard == h.enough {
			close(h.reached)
		}
	}
}
