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

// setHelp gives commands without a help text that of help/NAME.txt. Its examples follow the line
// "Examples:".
func setHelp(commands ...*cobra.Command) {
	files := template.Must(template.ParseFS(helpFiles, "help/*.txt"))
	for _, c := range commands {
		if c.Long != "" {
			continue
		}
		var text strings.Builder
		if err := files.ExecuteTemplate(&text, c.Name()+".txt", nil); err != nil {
			panic(err) // TestHelp reads them all
		}
		c.Long, c.Example, _ = strings.Cut(strings.TrimRight(text.String(), "\n"), "\n\nExamples:\n")
	}
}
