//go:build linux

// Package child starts processes of the lab, mostly this binary again, which die with
// the process that started them.
package child

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// Command returns a command in a process group of its own. It is killed when the
// context or this process ends, and does not see the signals of the terminal: those
// are this process's to deal with.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Self returns the Command that is this binary, which is told what to do as JSON in
// a variable of its environment.
func Self(ctx context.Context, variable string, todo any, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(todo)
	if err != nil {
		return nil, err
	}
	cmd := Command(ctx, self, args...)
	cmd.Env = append(os.Environ(), variable+"="+string(encoded))
	return cmd, nil
}

// enough is how many bytes an Output keeps.
const enough = 4096

// Output keeps the first bytes of what a child says. The zero value is ready.
type Output struct {
	mu   sync.Mutex
	kept []byte
}

var _ io.Writer = (*Output)(nil)

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p[:min(len(p), max(0, enough-len(o.kept)))]...)
	return len(p), nil
}

// Text returns what was kept, without the space around it.
func (o *Output) Text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.kept))
}

// Tail keeps the last bytes of what a child says, which tell why it ended. The zero
// value is ready.
type Tail struct {
	mu   sync.Mutex
	kept []byte
}

var _ io.Writer = (*Tail)(nil)

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p[max(0, len(p)-enough):]...)
	if n := len(t.kept) - enough; n > 0 {
		t.kept = append(t.kept[:0], t.kept[n:]...)
	}
	return len(p), nil
}

// Text returns what was kept, without the space around it.
func (t *Tail) Text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept))
}
