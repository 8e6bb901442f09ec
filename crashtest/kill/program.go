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

// Program is any program under test, as commands of the shell (/bin/sh). In all of
// them {dir} is replaced by the path of the directory that the program lives in, and
// {acks} by that of a file: the tokens that it has acknowledged, one a line, in the
// order of their lines. Both are words of the shell already, quoted where they have
// to be. What the commands have to do, and what they may rely on, is in the package's
// documentation.
type Program struct {
	// Workload appends to what is in {dir} until it is killed, and prints a line
	// `ack TOKEN` for whatever it holds durable.
	Workload string `json:"workload"`

	// Check exits with 0 if all that was acknowledged is there. It is asked after each
	// kill, unless nothing was acknowledged yet.
	Check string `json:"check"`

	// Legal, if set, exits with 0 if what is there may be there. It is asked after
	// each kill, also before the first acknowledgement.
	Legal string `json:"legal,omitempty"`

	// Timeout is how long the workload may take to its first acknowledgement, and a
	// check to its end; 0 is 30 seconds.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// defaultTimeout is a Program's Timeout: long for a busy machine, too.
const defaultTimeout = 30 * time.Second

// program is the subject made of a Program.
type program struct {
	Program
	over <-chan struct{}         // of the campaign: it ends checks, too
	acks func(dir string) string // the file that {acks} is; nil: beside dir
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
	err error // why a check could not be run: that is no finding
}

// Present implements campaign.Found. Where nothing was acknowledged, nothing has to be
// there.
func (f *programFound) Present(k campaign.Known, _ bool) error {
	acks, _ := k.(campaign.Acks)
	if len(acks) == 0 {
		return nil
	}
	if said := f.ask(f.p.Check, acks); said != "" {
		return &campaign.Broken{Kind: campaign.Lost, What: fmt.Sprintf("the check of %d acknowledgements fails: %s", len(acks), said)}
	}
	return nil
}

// Legal implements campaign.Found.
func (f *programFound) Legal(k campaign.Known, _ bool) error {
	acks, _ := k.(campaign.Acks)
	if f.p.Legal == "" || f.err != nil {
		return nil
	}
	if said := f.ask(f.p.Legal, acks); said != "" {
		return &campaign.Broken{Kind: campaign.Illegal, What: fmt.Sprintf("what is there after %d acknowledgements is not legal: %s", len(acks), said)}
	}
	return nil
}

// ask runs a check, and returns what it said where it failed.
func (f *programFound) ask(command string, acks campaign.Acks) string {
	said, err := f.p.ask(command, f.dir, acks)
	f.err = errors.Join(f.err, err)
	return said
}

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
	p := l.o.Subject.(*program)
	w, err := p.start(l.chain, plan.Acks)
	if err != nil {
		return nil, err
	}
	defer w.close()
	atWork := w.awaitInstant(ctx, p.Timeout, plan.Wait)
	// The kernel tells whether it is at work still: a process that has ended is a
	// zombie, and does not die of the kill.
	status, err := w.kill()
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL
	if !killed && status != 0 {
		return nil, fmt.Errorf("kill: the workload ended by itself%s%s", statusText(status), w.lastWords())
	}
	d := death{known: w.all, before: l.chain.known, place: Between, state: stateDone, text: w.lastWords()}
	switch before, _ := l.chain.known.(campaign.Acks); {
	case killed && len(w.all) == len(before):
		d.state = stateNone
	case killed && atWork:
		d.state = stateAtWork
	}
	return []death{d}, nil
}

// choosePatience chooses when a program is killed.
func (p *Plan) choosePatience() {
	n := p.Seed % 1000
	p.Acks = 1 + int(n*n/10000) // up to a hundred, more often few
}

// running is a workload that runs.
type running struct {
	hearing
	cmd  *exec.Cmd
	out  *os.File // the end of the pipe that is read
	errs child.Tail
}

// start starts the workload in a chain's directory; so many acknowledgements are
// waited for.
func (p *program) start(c *chain, acks int) (*running, error) {
	file := filepath.Join(c.dir, "acks")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return nil, err
	}
	r, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	before, _ := c.known.(campaign.Acks)
	w := &running{cmd: shell(p.Program.Workload, c.subjectDir(), file), out: r, hearing: hearing{
		all: before[:len(before):len(before)], enough: acks,
		first: make(chan struct{}), reached: make(chan struct{}), ended: make(chan struct{}),
	}}
	w.cmd.Stdout, w.cmd.Stderr, w.cmd.WaitDelay = out, &w.errs, time.Second
	if err = w.cmd.Start(); err != nil {
		return nil, errors.Join(err, r.Close(), out.Close())
	}
	go w.listen(r)
	if err = out.Close(); err != nil {
		_, kerr := w.kill()
		return nil, errors.Join(err, kerr, r.Close())
	}
	return w, nil
}

// kill kills the workload, hears what it has said until then, and returns how its own
// process has ended.
func (w *running) kill() (syscall.WaitStatus, error) {
	if err := killGroup(w.cmd); err != nil {
		return 0, err
	}
	if err := w.cmd.Wait(); w.cmd.ProcessState == nil {
		return 0, err
	}
	w.drain(w.out)
	status, _ := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status, nil
}

// close leaves nothing of it, also in a panic.
func (w *running) close() {
	_ = killGroup(w.cmd) // mostly it is dead
	_ = w.out.Close()    // it was read only
}

// lastWords tells what it has said at its end: its errors, or else what it has
// printed that were no acknowledgements.
func (w *running) lastWords() string {
	for _, said := range []*child.Tail{&w.errs, &w.said} {
		if words := lastLine(said.Text()); words != "" {
			return "; its last words: " + words
		}
	}
	return ""
}

// hearing is what a program says.
type hearing struct {
	all     campaign.Acks
	said    child.Tail // all that it prints but acknowledgements
	heard   int
	enough  int
	first   chan struct{} // closed when one was heard
	reached chan struct{} // closed when so many were heard
	ended   chan struct{} // closed when no process of the program is left
}

// programPatience is how long a program may go on without the acknowledgements
// that are waited for, once it has given the first one, and how long it may take to
// end when it is asked to.
const programPatience = 2 * time.Second

// awaitInstant waits for the instant of the kill, and reports whether the program
// was at work until then.
func (h *hearing) awaitInstant(ctx context.Context, first, wait time.Duration) bool {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for _, step := range []struct {
		until <-chan struct{}
		next  time.Duration
	}{{h.first, programPatience}, {h.reached, wait}, {nil, 0}} {
		select {
		case <-step.until:
		case <-timer.C:
		case <-h.ended:
			return false
		case <-ctx.Done():
			return false
		}
		timer.Reset(step.next)
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
		word, token, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if err != nil || !ok || word != "ack" && word != "acked" {
			_, _ = h.said.Write([]byte(line)) // it never fails
			if err != nil {
				return
			}
			continue
		}
		h.all = append(h.all, token)
		if h.heard++; h.heard == 1 {
			close(h.first)
		}
		if h.heard == h.enough {
			close(h.reached)
		}
	}
}
