//go:build linux

package main

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// newApp returns the command's tree.
func newApp(p *process) *cli.App {
	cli.VersionPrinter = func(c *cli.Context) {
		_, _ = fmt.Fprintf(c.App.Writer, "%s %s\n", c.App.Name, c.App.Version)
	}
	app := &cli.App{
		Name:    "seawall",
		Usage:   "a write-ahead log: what it acknowledged survives",
		Version: version(),
		Description: "A log is a directory. Records go in at its end, in batches or one by\n" +
			"one, and come out again byte for byte. An appended record survives the\n" +
			"death of the process, a synced one the death of the machine.\n\n" +
			"Data goes to stdout, talk to stderr. Flags may stand before and after\n" +
			"the arguments; what follows -- is no flag.",
		Commands: []*cli.Command{
			appendCommand(p), verifyCommand(p), repairCommand(p), truncateCommand(p), dumpCommand(p), tailCommand(p),
			inspectCommand(p), probeCommand(p), benchCommand(p), experimentCommand(p), crashCommand(p), completionCommand(p), manCommand(p),
		},
		CustomAppHelpTemplate: appHelp,
		Reader:                p.in,
		Writer:                p.out,
		ErrWriter:             p.err,
		Action:                p.noCommand,
		OnUsageError:          usageError,
		ExitErrHandler:        func(*cli.Context, error) {}, // run returns the code
	}
	setUp(app.Commands)
	return app
}

// setUp gives commands, and their subcommands, what is common to all.
func setUp(commands []*cli.Command) {
	for _, c := range commands {
		c.CustomHelpTemplate = commandHelp
		c.HideHelpCommand = true // a directory may be called help
		c.OnUsageError = usageError
		setUp(c.Subcommands)
	}
}

// noCommand deals with arguments that name no subcommand.
func (p *process) noCommand(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		cli.HelpPrinter(p.err, appHelp, c.App)
		return usage("no command given")
	}
	text := fmt.Sprintf("there is no command %q", name)
	for _, cmd := range c.App.VisibleCommands() {
		if cmd.Name[0] == name[0] {
			text += fmt.Sprintf("; did you mean %s?", cmd.Name)
		}
	}
	return usage("%s; see `seawall --help`", text)
}

// usage returns an error for arguments that make no sense.
func usage(format string, args ...any) error {
	return &codeError{code: exitFailed, err: fmt.Errorf(format, args...)}
}

// invalidValue is cli's complaint about the value of a flag.
var invalidValue = regexp.MustCompile(`^invalid value "(.*)" for flag -(\S+): (.*)$`)

// usageError puts cli's complaint about a flag into words, and says where help
// is.
func usageError(c *cli.Context, err error, _ bool) error {
	const undefined = "flag provided but not defined: "
	text := err.Error()
	if m := invalidValue.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("--%s: %s", m[2], m[3])
		if m[3] == "parse error" { // of package flag, about times and booleans
			text = fmt.Sprintf("--%s %s: it is a time like 10s or 1m30s", m[2], m[1])
		}
	}
	if name, ok := strings.CutPrefix(text, undefined); ok {
		name = strings.TrimLeft(name, "-")
		text = fmt.Sprintf("%s has no flag --%s", c.Command.Name, name)
		near := strings.TrimLeft(cli.SuggestFlag(c.Command.Flags, name, false), "-")
		switch {
		case name == "json" && (c.Command.Name == "dump" || c.Command.Name == "tail"):
			text += ": --format json writes the records as JSON"
		case near != "" && name != "" && near[0] == name[0]:
			text += "; did you mean --" + near + "?"
		}
	}
	return usage("%s; see `%s --help`", text, c.Command.HelpName)
}

// oneDir returns the directory that a subcommand's only argument names.
func oneDir(c *cli.Context) (string, error) {
	switch args := c.Args(); {
	case args.Len() == 0:
		return "", usage("%s: no directory given; see `%s --help`", c.Command.Name, c.Command.HelpName)
	case args.Len() > 1:
		return "", usage("%s: one directory, please, not %d: %q", c.Command.Name, args.Len(), args.Slice())
	case args.First() == "":
		return "", usage("%s: the directory's name is empty", c.Command.Name)
	}
	return c.Args().First(), nil
}

// version tells what was built, from which revision, by which Go.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown " + runtime.Version()
	}
	set := make(map[string]string)
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	if rev := set["vcs.revision"]; rev != "" {
		v += " " + rev[:min(12, len(rev))]
		if set["vcs.modified"] == "true" {
			v += "+changes"
		}
	}
	return fmt.Sprintf("%s %s %s/%s", v, info.GoVersion, runtime.GOOS, runtime.GOARCH)
}
