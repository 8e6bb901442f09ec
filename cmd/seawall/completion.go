//go:build linux

package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// shells are those that there is a completion script for.
var shells = []string{"bash", "zsh", "fish"}

// completeWord is the first argument with which the scripts ask for the words that
// may come next. The arguments behind it are what was typed, the last one as far as
// it was; nothing of them is run.
const completeWord = "__complete"

// The scripts hand on what was typed as it is, and never evaluate it: the words may
// hold $(...). Where there is no word, the shell offers files.
const (
	bashCompletion = `# bash completion for seawall: seawall completion bash
_seawall() {
    mapfile -t COMPREPLY < <(seawall ` + completeWord + ` "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _seawall seawall
`

	zshCompletion = `#compdef seawall
# zsh completion for seawall: seawall completion zsh
_seawall() {
    local -a found
    found=("${(@f)$(seawall ` + completeWord + ` "${(@)words[2,CURRENT]}" 2>/dev/null)}")
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

	fishCompletion = `# fish completion for seawall: seawall completion fish
function __seawall_complete
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l found (seawall ` + completeWord + ` $typed[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c seawall -f -a '(__seawall_complete)'
`
)

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
		script = fishCompletion
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

// complete writes the words that may come next, a line each.
func (p *process) complete(app *cli.App, words []string) error {
	var text strings.Builder
	for _, w := range completions(app, words) {
		text.WriteString(w + "\n")
	}
	return p.page(text.String())
}
