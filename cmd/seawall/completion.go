//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/crashtest/experiment"
)

// shells are those that there is a completion script for.
var shells = []string{"bash", "zsh", "fish"}

// flagValues are what completes a flag's value.
var flagValues = map[string][]string{
	"--sync":   {"each", "manual", "100ms"},
	"--split":  splitNames,
	"--format": {"raw", "hex", "json"},
}

// bashCompletion asks the command itself for the words, as cli offers it with
// its hidden flag. What was typed is handed on as it is, never evaluated: the
// words may hold $(...).
const bashCompletion = `# bash completion for seawall: seawall completion bash
_seawall() {
    local cur=${COMP_WORDS[COMP_CWORD]}
    local -a words=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
    [[ $cur == -* ]] && words+=("$cur")
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$(seawall "${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _seawall seawall
`

// zshCompletion does the same.
const zshCompletion = `#compdef seawall
# zsh completion for seawall: seawall completion zsh
_seawall() {
    local cur=${words[CURRENT]}
    local -a typed=("${(@)words[2,CURRENT-1]}") found
    [[ $cur == -* ]] && typed+=("$cur")
    found=("${(@f)$(seawall "${typed[@]}" --generate-bash-completion 2>/dev/null)}")
    if [[ -n ${found[1]} ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _seawall ]]; then
    _seawall "$@"
else
    compdef _seawall seawall
fi
`

// completionCommand returns `seawall completion`.
func completionCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "write a completion script for a shell",
		ArgsUsage: "SHELL",
		Description: "SHELL is bash, zsh or fish.\n\n" +
			"bash: source <(seawall completion bash)\n" +
			"zsh:  seawall completion zsh > \"${fpath[1]}/_seawall\"\n" +
			"fish: seawall completion fish > ~/.config/fish/completions/seawall.fish",
		Action: p.completion,
	}
}

// completion runs `seawall completion`.
func (p *process) completion(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usage("completion: which shell? It is one of %s", strings.Join(shells, ", "))
	}
	var script string
	switch shell := c.Args().First(); shell {
	case "bash":
		script = bashCompletion
	case "zsh":
		script = zshCompletion
	case "fish":
		var err error
		if script, err = c.App.ToFishCompletion(); err != nil {
			return err
		}
	default:
		return usage("completion: there is none for %s; there is for %s", shell, strings.Join(shells, ", "))
	}
	return p.page(script)
}

// page writes a text to stdout. A reader that has enough is no error.
func (p *process) page(text string) error {
	if _, err := io.WriteString(p.out, text); err != nil && !isClosedPipe(err) {
		return &writeError{err}
	}
	return nil
}

// completeCommand returns what writes the words that may follow in a
// subcommand's arguments: a flag's values, its flags, and otherwise nothing,
// which the shells take for a file.
func completeCommand(cmd *cli.Command) cli.BashCompleteFunc {
	flags := cli.DefaultCompleteWithFlags(cmd)
	return func(c *cli.Context) {
		if len(os.Args) < 2 {
			return
		}
		before := os.Args[len(os.Args)-2]
		values := flagValues[before]
		switch {
		case len(cmd.Subcommands) > 0 && before == cmd.Name:
			for _, sub := range cmd.Subcommands {
				values = append(values, sub.Name)
			}
		case cmd.Name == "completion" && before == cmd.Name:
			values = shells
		case cmd.Name == "experiment" && before == cmd.Name:
			values = experimentVerbs
		case cmd.Name == "experiment" && slices.Contains(os.Args, "run") && !strings.HasPrefix(before, "-"):
			for _, e := range experiment.All() {
				values = append(values, e.Name)
			}
		}
		for _, v := range values {
			_, _ = fmt.Fprintln(c.App.Writer, v)
		}
		if len(values) == 0 && strings.HasPrefix(before, "-") {
			flags(c)
		}
	}
}
