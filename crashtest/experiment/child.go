//go:build linux

package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

const (
	// roleEnv names the role of a child process, argsEnv holds the role's
	// arguments as JSON.
	roleEnv = "SEAWALL_EXPERIMENT_ROLE"
	argsEnv = "SEAWALL_EXPERIMENT_ARGS"
)

// roles are what a child can do. It answers on standard output.
func roles() map[string]func(args []byte) error {
	return map[string]func(args []byte) error{
		"sigkill":      sigkillChild,
		"sigbus-touch": sigbusTouchChild,
		"sigbus-cause": sigbusCauseChild,
		"thrash":       thrashChild,
		"fsyncgate":    fsyncgateChild,
		"stale-cache":  staleCacheChild,
	}
}

// BeChild must be called first by every program that runs experiments. In a
// process that an experiment started as its child it does the child's work and
// ends the process; in any other it does nothing.
func BeChild() {
	name := os.Getenv(roleEnv)
	if name == "" {
		return
	}
	role := roles()[name]
	if role == nil {
		fmt.Fprintf(os.Stderr, "experiment: there is no role %q\n", name)
		os.Exit(1)
	}
	if err := role([]byte(os.Getenv(argsEnv))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// newChild returns a command that plays a role, to be started by the caller.
func newChild(ctx context.Context, role string, args any) (*exec.Cmd, error) {
	cmd, err := child.Self(ctx, argsEnv, args)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, roleEnv+"="+role, "GOTRACEBACK=none")
	return cmd, nil
}

// privateMounts has a child start in a mount namespace of its own: what it mounts
// goes with it. Without root that takes a user namespace.
func privateMounts(cmd *exec.Cmd) {
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	if os.Geteuid() == 0 {
		return
	}
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
}

// refused reports whether the kernel does not let this user start such a child.
func refused(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, syscall.EINVAL)
}

// answer runs a child to its end and decodes its one answer.
func answer(cmd *exec.Cmd, into any) error {
	return answerAfter(cmd, into, func() error { return nil })
}

// answerAfter is answer that calls ready once the child has started. Where that
// fails the child is killed.
func answerAfter(cmd *exec.Cmd, into any, ready func() error) error {
	var said child.Output
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := ready(); err != nil {
		killed := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return errors.Join(err, killed)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("a child failed: %w: %s", err, said.Text())
	}
	return json.Unmarshal(out.Bytes(), into)
}

// reply writes a child's answer.
func reply(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
