//go:build linux

package truncate

import (
	"bufio"
	"context"
	"encoding/json"
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

// patience is how long a process of a life may say nothing, for what takes milliseconds. It
// ends what hangs.
const patience = 2 * time.Minute

// nobody is the user that lives go on as in which permissions count, where the lab is
// root, for whom they do not.
const nobody = 65534

// said is a line of a child.
type said struct {
	word string
	json string
}

// process is a child as the lab sees it.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan said
	talk  child.Output
	all   []said // that were read
	ended bool
	err   error
}

// life is one life, as the lab sees it.
type life struct {
	plan *Plan
	root string // its scratch directory
	dir  string // the log's, in it
	drop bool   // its processes are nobody's

	writer, follower *process
	change           *changed // of a change at an instant
}

// live lives the life of a plan in a new directory below dir, and checks what it left. With
// drop, lives in which permissions count are those of nobody. It returns what is broken, if
// anything is, and an error where the lab could not do it.
func live(ctx context.Context, p *Plan, dir string, drop bool) (l *life, r *row, broken *campaign.Broken, err error) {
	root, err := os.MkdirTemp(dir, "life-")
	if err != nil {
		return nil, nil, nil, err
	}
	l = &life{plan: p, root: root, dir: filepath.Join(root, "log"), drop: drop && strings.HasPrefix(p.Change, "chmod")}
	defer func() { err = errors.Join(err, l.remove()) }()
	if l.drop {
		if err = os.Chown(root, nobody, nobody); err != nil {
			return l, nil, nil, err
		}
	}
	defer l.kill()
	broken, err = l.processes(ctx)
	if cerr := l.findChange(); err == nil {
		err = cerr
	}
	if broken != nil || err != nil {
		return l, nil, broken, err
	}
	v, err := l.verdict(ctx)
	switch {
	case err != nil:
		return l, nil, nil, err
	case v.row.change == "": // a process died, and there is nothing to check
		return l, nil, v.broken, nil
	}
	return l, &v.row, v.broken, nil
}

// mayDrop reports whether processes of the lab may be those of the user nobody, who has to
// get to the directory, and to be started there.
func mayDrop(ctx context.Context, dir string) bool {
	if os.Geteuid() != 0 || !openToAll(dir) {
		return false
	}
	l := &life{plan: &Plan{}, dir: dir, drop: true}
	own, err := os.MkdirTemp(dir, "nobody-")
	if err == nil {
		err = errors.Join(os.Chown(own, nobody, nobody), os.Remove(own))
	}
	if err != nil {
		return false
	}
	p, err := l.start(ctx, roleNone)
	return err == nil && p.end(ctx) == nil
}

// openToAll reports whether every user can get to a directory.
func openToAll(dir string) bool {
	for {
		st, err := os.Stat(dir)
		if err != nil || st.Mode()&0o001 == 0 {
			return false
		}
		up := filepath.Dir(dir)
		if up == dir {
			return true
		}
		dir = up
	}
}

// remove removes what the life has left.
func (l *life) remove() error {
	err := filepath.WalkDir(l.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(l.root))
}

// processes has the writer and the follower live, up to their ends.
func (l *life) processes(ctx context.Context) (*campaign.Broken, error) {
	var err error
	if l.writer, err = l.start(ctx, byWriter); err != nil {
		return nil, err
	}
	if err = l.writer.until(ctx, "ready"); err != nil {
		return l.died(ctx, l.writer, err)
	}
	if l.follower, err = l.start(ctx, byFollower); err != nil {
		return nil, err
	}
	if err = l.follower.until(ctx, "following"); err != nil {
		return l.died(ctx, l.follower, err)
	}
	// Where a process has died by now, the write fails, and its end says why.
	_, _ = l.writer.in.Write([]byte("\n"))
	if momentNamed(l.plan.Moment).who == byLab {
		time.Sleep(time.Duration(l.plan.Wait) * time.Microsecond)
		done, cerr := makeChange(l.plan, l.dir)
		if cerr != nil {
			return nil, fmt.Errorf("truncate: %s %s: %w", l.plan.Change, done.File, cerr)
		}
		done.Moment = l.plan.Moment
		l.change = done
	}
	if err = l.writer.end(ctx); err != nil {
		return l.died(ctx, l.writer, err)
	}
	_, _ = l.follower.in.Write([]byte("\n"))
	if err = l.follower.end(ctx); err != nil {
		return l.died(ctx, l.follower, err)
	}
	return nil, nil
}

// findChange finds what was changed among all that was told.
func (l *life) findChange() error {
	for _, p := range []*process{l.writer, l.follower} {
		if p == nil {
			continue
		}
		for _, line := range p.all {
			switch line.word {
			case "cannot":
				return fmt.Errorf("truncate: %s", line.json)
			case "changed":
				l.change = new(changed)
				if err := json.Unmarshal([]byte(line.json), l.change); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// start starts a process of the life.
func (l *life) start(ctx context.Context, role string) (*process, error) {
	cmd, err := child.Self(ctx, childEnv, childArgs{Role: role, Dir: l.dir, Plan: l.plan})
	if err != nil {
		return nil, err
	}
	if l.drop && role != roleCheck {
		cmd.Path = "/proc/self/exe" // it may lie where nobody may not go
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.Env = append(cmd.Env, "GOTRACEBACK=single")
	p := &process{name: role, cmd: cmd, lines: make(chan said, 1<<12)}
	cmd.Stderr = &p.talk
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err = cmd.Start(); err != nil {
		return nil, fmt.Errorf("truncate: the %s cannot be started: %w", role, err)
	}
	go func() {
		defer close(p.lines)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			word, text, _ := strings.Cut(lines.Text(), "\t")
			p.lines <- said{word, text}
		}
	}()
	return p, nil
}

// errHangs reports a process that does not end.
var errHangs = errors.New("it hangs")

// until reads what a process says up to a word, or its end, which is an error.
func (p *process) until(ctx context.Context, word string) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return p.wait()
			}
			p.all = append(p.all, line)
			if line.word == word {
				return nil
			}
			late.Reset(patience)
		case <-late.C:
			_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it says where it hangs
			kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
			_ = p.wait()
			kill.Stop()
			return errHangs
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errEnded reports a process that has ended by itself, where it was to go on.
var errEnded = errors.New("it has ended")

// wait waits for the process, once its output has ended.
func (p *process) wait() error {
	if !p.ended {
		p.ended = true
		for line := range p.lines {
			p.all = append(p.all, line)
		}
		p.err = p.cmd.Wait()
	}
	if p.err == nil {
		return errEnded
	}
	return p.err
}

// end waits for the end of a process. Only one without an error is none.
func (p *process) end(ctx context.Context) error {
	if err := p.until(ctx, ""); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// died says what became of a process that did not do what it was to do: a broken promise,
// or an error of the lab.
func (l *life) died(ctx context.Context, p *process, err error) (*campaign.Broken, error) {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, errHangs):
		return &campaign.Broken{Kind: campaign.Stuck, Clause: "C7", What: fmt.Sprintf("the %s did not end within %v%s", p.name, patience, p.lastWords())}, nil
	case errors.As(err, &exit) && exit.ExitCode() != exitLab:
		return &campaign.Broken{Kind: campaign.Died, Clause: "C7", What: fmt.Sprintf("the %s died: %v%s", p.name, exit, p.lastWords())}, nil
	case errors.Is(err, errEnded):
		return l.complained(p)
	}
	return nil, fmt.Errorf("truncate: the %s: %w: %s", p.name, err, p.talk.Text())
}

// complained says why a process has ended before anything was changed.
func (l *life) complained(p *process) (*campaign.Broken, error) {
	for _, line := range p.all {
		if line.word == "failed" {
			var f failed
			if err := json.Unmarshal([]byte(line.json), &f); err != nil {
				return nil, err
			}
			return &campaign.Broken{Kind: campaign.Misjudged, Clause: "C7", What: fmt.Sprintf("before anything was changed, %s failed: %s", f.Doing, f.Text)}, nil
		}
	}
	return nil, fmt.Errorf("truncate: the %s has ended: %s", p.name, p.talk.Text())
}

// lastWords returns the first line of what a process has said as it died: that of a
// panic.
func (p *process) lastWords() string {
	line, _, _ := strings.Cut(p.talk.Text(), "\n")
	if line != "" {
		line = ": " + line
	}
	return line
}

// kill ends what is still there.
func (l *life) kill() {
	for _, p := range []*process{l.writer, l.follower} {
		if p != nil && !p.ended {
			_ = p.cmd.Process.Kill()
			_ = p.wait()
		}
	}
}

// checked is what a third process says of what is left.
type checked struct {
	process *process
	broken  *campaign.Broken
}

// check has a process look at what is left, as root where the lab is: permissions that
// were taken away are given back before.
func (l *life) check(ctx context.Context) (*checked, error) {
	if err := l.permit(); err != nil {
		return nil, err
	}
	p, err := l.start(ctx, roleCheck)
	if err != nil {
		return nil, err
	}
	defer func() {
		if !p.ended {
			_ = p.cmd.Process.Kill()
			_ = p.wait()
		}
	}()
	c := &checked{process: p}
	if err = p.end(ctx); err != nil {
		c.broken, err = l.died(ctx, p, err)
	}
	return c, err
}

// permit gives back the permissions that were taken away, whatever the name of a file is
// by now.
func (l *life) permit() error {
	if !strings.HasPrefix(l.plan.Change, "chmod") {
		return nil
	}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(l.dir)
	for _, e := range entries {
		if err == nil {
			err = os.Chmod(filepath.Join(l.dir, e.Name()), 0o644)
		}
	}
	return err
}
