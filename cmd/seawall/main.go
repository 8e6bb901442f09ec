//go:build linux

// Seawall keeps records in a write-ahead log: it appends them from its
// standard input, verifies, repairs, dumps and follows logs. Run `seawall --help`.
//
// The command is thin: whatever it does with a log, package wal does. Its own
// part is what stands between a log and a shell: splitting input into records,
// signals and closed pipes, words and numbers for people, JSON for scripts,
// and exit codes that mean one thing each.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/experiment"
	"github.com/seawall-wal/seawall/crashtest/kill"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/crashtest/truncate"
)

func main() {
	beChild()
	// A write to a pipe that nobody reads is then an error of that write, and
	// not the end of the process: append still makes durable what it has read.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	p := &process{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(p.run(os.Args))
}

// beChild lives what this process was started for, if it is the child of an
// experiment or a campaign.
func beChild() {
	experiment.BeChild()
	kill.BeChild(seawall.Subjects()...)
	truncate.BeChild()
}

// process is one run of the command and what it is connected to.
type process struct {
	in, out, err *os.File
	json         bool // --json is among the arguments
	reported     bool // the JSON object is written

	planted []campaign.Subject // by tests: what campaigns are about
}

// run runs the command with its arguments, the first of which is its name, and
// returns the exit code.
func (p *process) run(args []string) int { return p.runApp(newApp(p), args) }

// runApp is run for a tree of commands. A panic becomes an internal error.
func (p *process) runApp(app *cli.App, args []string) (code int) {
	defer func() {
		if v := recover(); v != nil {
			code = p.finish(newInternalError(v))
		}
	}()
	if len(args) > 1 && args[1] == completeWord {
		return p.finish(p.complete(app, args[2:]))
	}
	p.json = asksForJSON(args)
	if err := startPoller(); err != nil {
		return p.finish(err)
	}
	return p.finish(app.Run(arrange(app, args)))
}

// startPoller makes the Go runtime open the two descriptors of its poller now, or
// returns why it could not. The runtime would do it at the first timer, and end
// the process where it gets none, with a log half open.
func startPoller() error {
	one, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		var other int
		if other, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
			_ = unix.Close(other)
		}
		_ = unix.Close(one)
	}
	if err != nil {
		return fmt.Errorf("cannot begin: %w", err)
	}
	time.Sleep(time.Nanosecond)
	return nil
}

// finish says what went wrong, as the JSON object too if that was asked for
// and is not written yet, and returns the exit code.
func (p *process) finish(err error) int {
	if err == nil {
		return exitOK
	}
	if words := explain(err); words != "" {
		p.say("%s", words)
		if p.json && !p.reported {
			if werr := p.report(&outcome{Error: words}); werr != nil {
				p.say("cannot write to stdout: %v", werr)
			}
		}
	}
	return exitCode(err)
}

// say writes a line of talk to stderr. There is nobody left to tell when that
// fails.
func (p *process) say(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n         ")
	_, _ = fmt.Fprintf(p.err, "seawall: %s\n", text)
}

// isClosedPipe reports whether a write failed because nobody reads any more.
func isClosedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }
