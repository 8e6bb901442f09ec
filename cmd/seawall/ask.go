//go:build linux

package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// errNotConfirmed is the answer of a person who was asked before records went.
var errNotConfirmed = errors.New("nothing was removed: it was not confirmed")

// cutFlags are the flags of the subcommands that remove records for good.
func cutFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "only say what would be removed"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, DisableDefaultText: true, Usage: "do not ask, at a terminal"},
	}
}

// confirm says what is about to be removed and asks whether to go on, where a
// person sits at a terminal and did not say yes before. Scripts are not asked.
func (p *process) confirm(c *cli.Context, what string) error {
	if c.Bool("yes") || !isTerminal(p.in) || !isTerminal(p.err) {
		return nil
	}
	p.say("%s", what)
	if _, err := p.err.WriteString("seawall: go on? [y/N] "); err != nil {
		return err
	}
	answer, err := readLine(int(p.in.Fd()))
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errNotConfirmed
}

// readLine reads a line from a terminal, which hands out no more than that, or
// what there is where its input ends.
func readLine(fd int) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return "", err
		case n == 0 || b[0] == '\n':
			return string(line), nil
		}
		line = append(line, b[0])
	}
}
