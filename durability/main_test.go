package durability_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// childEnv names the role that the test binary plays when it is run again, and
// childDir the directory that it works in.
const (
	childEnv = "SEAWALL_DURABILITY_CHILD"
	childDir = "SEAWALL_DURABILITY_DIR"
)

// roles are what a child process can do. It ends with an error, or prints what
// its test waits for.
var roles = map[string]func(dir string) error{
	"lock":         holdLock,
	"unprivileged": useUnprivileged,
	"checks":       checkForever,
}

// TestMain plays a role instead of running tests where a test asks for it.
func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := roles[name](os.Getenv(childDir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a test binary that plays a role.
type child struct {
	*exec.Cmd
	out *bufio.Reader
	in  io.WriteCloser
}

// startChild starts the test binary in a role. It dies with the test at the
// latest.
func startChild(t *testing.T, role, dir string, attr *syscall.SysProcAttr, wrap ...string) *child {
	t.Helper()
	binary, err := os.Executable()
	must(t, err)
	if attr != nil && attr.Credential != nil {
		binary = copyBinary(t)
	}
	args := append(wrap, binary)
	c := &child{Cmd: exec.Command(args[0], args[1:]...)}
	c.Env = append(os.Environ(), childEnv+"="+role, childDir+"="+dir)
	c.Stderr = t.Output()
	c.SysProcAttr = attr
	out, err := c.StdoutPipe()
	must(t, err)
	c.in, err = c.StdinPipe()
	must(t, err)
	c.out = bufio.NewReader(out)
	must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill() // it has ended by itself in most tests
		_ = c.Wait()
	})
	return c
}

// line returns the next line that the child prints.
func (c *child) line(t *testing.T) string {
	t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the child printed %q and ended: %v", s, err)
	}
	return strings.TrimSpace(s)
}

// copyBinary puts the test binary where every user may run it.
func copyBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	data, err := os.ReadFile(self)
	must(t, err)
	dir, err := os.MkdirTemp("", "durability")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "child")
	writeBinary(t, path, data)
	return path
}

// writeBinary writes a file that is to be run. A child that another test forks
// at that moment would hold it open for writing for a moment, and it could not be run
// (ETXTBSY).
func writeBinary(t *testing.T, path string, data []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, data, 0o755)
	syscall.ForkLock.RUnlock()
	must(t, err)
}
