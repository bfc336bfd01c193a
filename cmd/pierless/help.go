package main

import (
	"embed"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

// helpFiles has a text for each command, and fragments that several of them include.
//
//go:embed help/*.txt
var helpFiles embed.FS

// setHelp gives a command without a help text, and its subcommands, that of help/NAME.txt: the NAME
// of "pierless access log" is access-log. Its examples follow the line "Examples:".
func setHelp(root *cobra.Command) {
	files := template.Must(template.ParseFS(helpFiles, "help/*.txt"))
	for commands := []*cobra.Command{root}; len(commands) > 0; commands = commands[1:] {
		c := commands[0]
		commands = append(commands, c.Commands()...)
		if c.Long != "" {
			continue
		}
		name := strings.ReplaceAll(strings.TrimPrefix(c.CommandPath(), root.Name()+" "), " ", "-")
		var text strings.Builder
		if err := files.ExecuteTemplate(&text, name+".txt", nil); err != nil {
			panic(err) // TestHelp reads them all
		}
		c.Long, c.Example, _ = strings.Cut(strings.TrimRight(text.String(), "\n"), "\n\nExamples:\n")
	}
}
