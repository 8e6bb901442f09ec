//go:build linux

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// flagValues are what completes a flag's value.
var flagValues = map[string][]string{
	"sync":   {"each", "manual", "100ms"},
	"split":  splitNames,
	"format": {"raw", "hex", "json"},
}

// typed is what of a command line stands before the word that is being typed.
type typed struct {
	cmd     *cli.Command // nil: none yet
	sub     bool         // cmd is a subcommand of another one
	args    []string     // that are no flags
	literal bool         // behind --: what follows is no flag
	flag    string       // the name of the flag whose value is being typed
}

// completions returns the words that may stand where the last of words is being
// typed; none where that may be anything. It only looks at the tree of commands.
func completions(app *cli.App, words []string) []string {
	words = joinValues(words)
	if len(words) == 0 {
		return nil
	}
	current := words[len(words)-1]
	t, ok := readTyped(app, words[:len(words)-1])
	if !ok {
		return nil
	}
	name, _, hasValue := strings.Cut(current, "=")
	switch {
	case t.flag != "":
		return withPrefix(flagValues[t.flag], "", current)
	case t.literal:
		return nil
	case looksLikeFlag(current) && hasValue:
		return withPrefix(flagValues[strings.TrimLeft(name, "-")], name+"=", current)
	case strings.HasPrefix(current, "-"):
		return withPrefix(t.flags(app), "", current)
	}
	return withPrefix(t.words(app), "", current)
}

// joinValues puts together what bash takes apart: it hands on --format=raw as
// three words. The flag and its value are two then.
func joinValues(words []string) []string {
	var out []string
	for i, w := range words {
		switch {
		case w != "=" || i == 0 || !looksLikeFlag(words[i-1]):
			out = append(out, w)
		case i == len(words)-1:
			out = append(out, "") // its value is about to be typed
		}
	}
	return out
}

// readTyped reads the words before the one that is being typed. It returns false
// where one is no command.
func readTyped(app *cli.App, before []string) (t typed, ok bool) {
	for i := 0; i < len(before); i++ {
		w := before[i]
		switch {
		case t.literal:
			t.args = append(t.args, w)
		case w == "--":
			t.literal = true
		case looksLikeFlag(w) && !takesNext(t.scope(app), w):
		case looksLikeFlag(w):
			if i++; i == len(before) {
				t.flag = strings.TrimLeft(w, "-")
			}
		case t.cmd == nil:
			if t.cmd = app.Command(w); t.cmd == nil {
				return t, false
			}
		case !t.sub && len(t.args) == 0 && subcommand(t.cmd, w) != nil:
			t.cmd, t.sub = subcommand(t.cmd, w), true
		default:
			t.args = append(t.args, w)
		}
	}
	return t, true
}

// subcommand returns a command's subcommand with that name, or nil.
func subcommand(cmd *cli.Command, name string) *cli.Command {
	for _, sub := range cmd.Subcommands {
		if sub.HasName(name) {
			return sub
		}
	}
	return nil
}

// scope returns the flags that may stand here.
func (t *typed) scope(app *cli.App) []cli.Flag {
	switch {
	case t.cmd == nil:
		return allFlags(app.Commands)
	case t.cmd.Subcommands != nil:
		return append(slices.Clone(t.cmd.Flags), allFlags(t.cmd.Subcommands)...)
	}
	return t.cmd.Flags
}

// flags returns the flags that may be typed here.
func (t *typed) flags(app *cli.App) []string {
	words := []string{"--help"}
	if t.cmd == nil {
		return append(words, "--version")
	}
	for _, f := range t.cmd.Flags {
		if word := "--" + f.Names()[0]; !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return append(words[1:], "--help")
}

// words returns what may be typed here that is no flag.
func (t *typed) words(app *cli.App) (words []string) {
	commands := app.Commands
	if t.cmd != nil {
		commands = t.cmd.Subcommands
	}
	switch {
	case len(t.args) == 0 && len(commands) > 0:
		for _, c := range commands {
			if !c.Hidden && c.Name != "help" {
				words = append(words, c.Name)
			}
		}
	case t.cmd.Name == "completion" && len(t.args) == 0:
		return shells
	case t.cmd.Name == "experiment" && len(t.args) == 0:
		return experimentVerbs
	case t.cmd.Name == "experiment" && t.args[0] == "run":
		for _, e := range experiment.All() {
			if !slices.Contains(t.args, e.Name) {
				words = append(words, e.Name)
			}
		}
	}
	return words
}

// withPrefix returns the words that begin, behind a prefix, as what was typed.
func withPrefix(words []string, prefix, typed string) (out []string) {
	for _, w := range words {
		if w = prefix + w; strings.HasPrefix(w, typed) {
			out = append(out, w)
		}
	}
	return out
}
