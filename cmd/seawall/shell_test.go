//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shellPatience only ends a shell that hangs.
const shellPatience = 3 * time.Minute

// shell is a shell at a terminal where a test types.
type shell struct {
	t      *testing.T
	screen *os.File
	mu     sync.Mutex
	text   string
	lines  int
}

// startShell starts a shell in an empty directory.
func startShell(t *testing.T, dir string, args ...string) *shell {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatalf("%s is not here", args[0])
		}
		t.Skipf("%s is not here", args[0])
	}
	screen, terminal := openTerminal(t)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = terminal, terminal, terminal, dir
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home, "XDG_RUNTIME_DIR="+home, "TERM=xterm", "HISTFILE=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, screen: screen}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	go s.read()
	return s
}

// read takes over what is on the screen, until the terminal is closed.
func (s *shell) read() {
	for b := make([]byte, 4096); ; {
		n, err := s.screen.Read(b)
		s.mu.Lock()
		s.text += string(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// keys types, and runs what stands in the line then. It returns what came on the
// screen until the shell was ready for the next line.
func (s *shell) keys(typed string) string {
	s.t.Helper()
	s.lines++
	s.mu.Lock()
	before := len(s.text)
	s.mu.Unlock()
	// The echo of what is typed is not what echo says.
	end := fmt.Sprintf("line_%d_is_done", s.lines)
	if _, err := fmt.Fprintf(s.screen, "%s\recho line_%d'_is_'done\r", typed, s.lines); err != nil {
		s.t.Fatal(err)
	}
	for until := time.Now().Add(shellPatience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		text := s.text[before:]
		s.mu.Unlock()
		if strings.Contains(text, end) {
			return text
		}
		if time.Now().After(until) {
			s.t.Fatalf("the shell does not come back from %q: %q", typed, text)
		}
	}
}

// TestCompletionInShells presses TAB in the real shells. What is completed is run,
// so that it shows in what the command says; what is ambiguous, or a directory's
// name, is taken away again.
func TestCompletionInShells(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		setUp string
	}{
		"bash": {[]string{"bash", "--norc", "--noprofile", "-i"}, "source <(seawall completion bash)"},
		"zsh":  {[]string{"zsh", "-f", "-i"}, "autoload -U compinit; compinit -u -D; source <(seawall completion zsh)"},
		"fish": {[]string{"fish", "--no-config", "-i"}, "seawall completion fish | source"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := startShell(t, dir, c.args...)
			s.keys(c.setUp)
			for _, k := range []struct{ typed, want string }{
				{"seawall dump --fo\t json nowhere", "no log here"},
				{"seawall dump --format j\t nowhere", "no log here"},
				{"seawall append --sync=m\t ''", "the directory's name is empty"},
				{"seawall trun\t --front 3 nowhere", "no log here"},
				{"seawall completion fi\t", "function __seawall_complete"},
				{"seawall experiment run war\t --dir ''", "--dir: the directory's name is empty"},
				{"seawall append --\t\x15", ""},
				{"seawall append \t\x15", ""},
				{"seawall append log --sync \t\x15", ""},
				{"seawall \t\x15", ""},
				{"seawall append --generate-bash-completion \t\x15", ""},
			} {
				if text := s.keys(k.typed); !strings.Contains(text, k.want) {
					t.Errorf("%q: no %q in %q", k.typed, k.want, text)
				}
			}
			wantNoFiles(t, dir)
		})
	}
}
