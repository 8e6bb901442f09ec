//go:build linux

package main

import (
	"fmt"
	"strings"
)

// The help pages fit into 80 columns: cli aligns the columns, the texts are
// broken where they are written.

// appHelp is the template of `seawall --help`.
var appHelp = `{{.Name}} - {{.Usage}}

USAGE:
   {{.Name}} COMMAND [OPTIONS] [ARGUMENTS]

COMMANDS:{{range .VisibleCommands}}{{if ne .Name "help"}}
   {{.Name}} {{.ArgsUsage}}{{"\t"}}{{.Usage}}{{end}}{{end}}

OPTIONS:{{range .VisibleFlags}}
   {{.String}}{{end}}

DESCRIPTION:
   {{indent 3 .Description | trim}}

EXIT CODES:
` + exitTable("   ") + `
Help for one command: {{.Name}} COMMAND --help
`

// commandHelp is the template of `seawall COMMAND --help`.
var commandHelp = `{{.HelpName}} - {{.Usage}}

USAGE:
   {{.HelpName}} [OPTIONS]{{with .ArgsUsage}} {{.}}{{end}}

OPTIONS:{{range .VisibleFlags}}
   {{.String}}{{end}}{{if .Description}}

DESCRIPTION:
   {{indent 3 .Description | trim}}{{end}}

EXIT CODES:
` + exitTable("   ")

// exitTable returns the table of the exit codes, a code a line.
func exitTable(indent string) string {
	var b strings.Builder
	for _, e := range exitMeanings {
		fmt.Fprintf(&b, "%s%-4d %s\n", indent, e.Code, e.Meaning)
	}
	return b.String()
}
