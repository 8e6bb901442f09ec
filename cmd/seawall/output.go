//go:build linux

package main

import (
	"encoding/json"

	"github.com/urfave/cli/v2"
)

// outcome is the part that every JSON object has: why the command failed.
type outcome struct {
	Error string `json:"error,omitempty"`
}

// failed notes the error's words.
func (o *outcome) failed(err error) { o.Error = explain(err) }

// reporter is what a subcommand returns for people and for scripts.
type reporter interface {
	// failed notes why the subcommand failed, for the JSON object.
	failed(error)
	// print says it to people. It goes to stdout where it is what was asked
	// for, and to stderr where it is talk.
	print(*process) error
}

// jsonFlag returns the flag --json of the subcommands that report.
func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print one JSON object, whatever the exit code"}
}

// reporting makes an action of a function that returns a report, which may be
// nil where it fails.
func (p *process) reporting(do func(*cli.Context) (reporter, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		r, err := do(c)
		if r == nil {
			return err
		}
		var werr error
		if c.Bool("json") {
			if words := err; words != nil && explain(words) != "" {
				r.failed(words)
			}
			werr = p.report(r)
		} else {
			werr = r.print(p)
		}
		if werr == nil {
			return err
		}
		if !isClosedPipe(werr) {
			p.say("cannot write to stdout: %v", werr)
		}
		// The verdict counts for more than the words that nobody reads.
		if err == nil && !isClosedPipe(werr) {
			return &codeError{code: exitFailed}
		}
		return err
	}
}

// report writes the one JSON object to stdout, in one line.
func (p *process) report(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p.reported = true
	_, err = p.out.Write(append(line, '\n'))
	return err
}
