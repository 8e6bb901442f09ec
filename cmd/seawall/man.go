//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// manSection is the manual's section for commands.
const manSection = 1

// manCommand returns `seawall man`.
func manCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "write the manual page, in roff",
		Description: "Read it with: seawall man | man -l -",
		Action:      p.man,
	}
}

// man runs `seawall man`.
func (p *process) man(c *cli.Context) error {
	if c.Args().Present() {
		return usage("man: it takes no arguments")
	}
	// cli makes roff of its template. Its own leaves out what the subcommands'
	// descriptions say.
	cli.MarkdownDocTemplate = manText(c.App)
	page, err := c.App.ToManWithSection(manSection)
	if err != nil {
		return err
	}
	return p.page(page)
}

// manText returns the manual page in Markdown.
func manText(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%% %s %d\n\n# NAME\n\n%s - %s\n\n", app.Name, manSection, app.Name, app.Usage)
	fmt.Fprintf(&b, "# SYNOPSIS\n\n**%s** COMMAND [OPTIONS] [ARGUMENTS]\n\n", app.Name)
	fmt.Fprintf(&b, "# DESCRIPTION\n\n%s\n\n# OPTIONS\n\n%s# COMMANDS\n\n", app.Description, manFlags(app.Flags))
	manCommands(&b, "", app.VisibleCommands())
	fmt.Fprintf(&b, "# EXIT STATUS\n\n```\n%s```\n", exitTable(""))
	return b.String()
}

// manCommands writes what there is to say of commands and their subcommands.
func manCommands(b *strings.Builder, above string, commands []*cli.Command) {
	for _, c := range commands {
		if c.Name == "help" || c.Hidden {
			continue
		}
		fmt.Fprintf(b, "### %s%s %s\n\n%s\n\n%s", above, c.Name, c.ArgsUsage, c.Usage, manFlags(c.Flags))
		fmt.Fprintf(b, "```\n%s\n```\n\n", c.Description)
		manCommands(b, above+c.Name+" ", c.Subcommands)
	}
}

// manFlags returns the paragraphs for flags.
func manFlags(flags []cli.Flag) string {
	var b strings.Builder
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok || f.Names()[0] == "help" {
			continue
		}
		// Between backquotes stands what the value is called, as in cli.
		parts := strings.SplitN(d.GetUsage(), "`", 3)
		value := ""
		if d.TakesValue() {
			value = " *" + parts[1] + "*"
			if text := d.GetDefaultText(); text != "" {
				parts = append(parts, " (default: "+text+")")
			}
		}
		fmt.Fprintf(&b, "**--%s**%s: %s\n\n", f.Names()[0], value, strings.Join(parts, ""))
	}
	return b.String()
}
