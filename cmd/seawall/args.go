//go:build linux

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts the arguments into the order that cli reads: the subcommand,
// its flags with their values, then the rest. cli stops reading flags at the
// first argument that is none, and people type `seawall append DIR --sync each`
// and `seawall --json verify DIR`. What follows `--` is left as it is.
func arrange(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	at := findCommand(app, args)
	if at == 0 {
		return args
	}
	var global, flags []string
	for _, a := range args[1:at] {
		if isFlagOf(app.Flags, a) || isFlagOf([]cli.Flag{cli.HelpFlag, cli.VersionFlag}, a) {
			global = append(global, a)
		} else {
			flags = append(flags, a)
		}
	}
	out := append([]string{args[0]}, global...)
	out = append(out, args[at])
	known, left := app.Command(args[at]).Flags, args[at+1:]
	if sub, i := findSubcommand(app.Command(args[at]), left); sub != nil {
		out = append(out, sub.Name)
		known, left = sub.Flags, slices.Delete(slices.Clone(left), i, i+1)
	}
	out = append(out, flags...)
	flags, rest := divide(known, left)
	out = append(out, flags...)
	if len(rest) > 0 {
		out = append(append(out, "--"), rest...)
	}
	return out
}

// divide divides a subcommand's arguments into flags, with their values, and
// the rest. Where help is asked for, or a value is missing, the rest is left
// out: cli would take it for the name of a topic, or for the value.
func divide(known []cli.Flag, args []string) (flags, rest []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return flags, append(rest, args[i+1:]...)
		case !looksLikeFlag(a):
			rest = append(rest, a)
		case isFlagOf([]cli.Flag{cli.HelpFlag}, a):
			return []string{a}, nil
		case !takesNext(known, a):
			flags = append(flags, a)
		case i+1 < len(args):
			flags = append(flags, a, args[i+1])
			i++
		default:
			return append(flags, a), nil
		}
	}
	return flags, rest
}

// findCommand returns the index of the subcommand among the arguments, 0 if
// there is none: the first that is neither a flag nor a flag's value.
func findCommand(app *cli.App, args []string) int {
	all := allFlags(app.Commands)
	for i := 1; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return 0
		case looksLikeFlag(args[i]):
			if takesNext(all, args[i]) {
				i++
			}
		case app.Command(args[i]) != nil:
			return i
		default:
			return 0
		}
	}
	return 0
}

// findSubcommand returns a command's subcommand among the arguments, and its
// index: the first that is neither a flag nor a flag's value.
func findSubcommand(cmd *cli.Command, args []string) (*cli.Command, int) {
	all := allFlags(cmd.Subcommands)
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		if !looksLikeFlag(args[i]) {
			for _, sub := range cmd.Subcommands {
				if sub.HasName(args[i]) {
					return sub, i
				}
			}
			break
		}
		if takesNext(all, args[i]) {
			i++
		}
	}
	return nil, 0
}

// allFlags returns the flags of commands and their subcommands.
func allFlags(commands []*cli.Command) (all []cli.Flag) {
	for _, c := range commands {
		all = append(append(all, c.Flags...), allFlags(c.Subcommands)...)
	}
	return all
}

// asksForJSON reports whether --json is among the arguments, so that an error
// in the others can be told as JSON too.
func asksForJSON(args []string) bool {
	for _, a := range args[min(1, len(args)):] {
		switch a {
		case "--":
			return false
		case "--json", "-json", "--json=true", "-json=true":
			return true
		}
	}
	return false
}

// looksLikeFlag reports whether an argument is a flag. A lone dash is not.
func looksLikeFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// takesNext reports whether a flag takes the argument that follows it.
func takesNext(flags []cli.Flag, arg string) bool {
	if strings.Contains(arg, "=") {
		return false
	}
	return slices.ContainsFunc(flags, func(f cli.Flag) bool {
		d, ok := f.(cli.DocGenerationFlag)
		return ok && d.TakesValue() && isFlagOf([]cli.Flag{f}, arg)
	})
}

// isFlagOf reports whether an argument is one of the flags.
func isFlagOf(flags []cli.Flag, arg string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	return slices.ContainsFunc(flags, func(f cli.Flag) bool {
		return slices.Contains(f.Names(), name)
	})
}
