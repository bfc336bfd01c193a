package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// credentials are user and password for a registry. There is no flag for the password: other
// users can see the arguments of a process.
type credentials struct {
	user, password string
	fromStdin      bool
}

func (c *credentials) addFlags(cmd *cobra.Command, getenv func(string) string) {
	f := cmd.Flags()
	c.password = getenv("PIERLESS_PASSWORD")
	f.StringVar(&c.user, "username", getenv("PIERLESS_USERNAME"), "user name for the registry (PIERLESS_USERNAME)")
	f.BoolVar(&c.fromStdin, "password-stdin", false, "read the password from standard input instead of PIERLESS_PASSWORD")
}

// check returns the error for a user without a password, or the reverse.
func (c *credentials) check() error {
	switch {
	case c.user == "" && (c.password != "" || c.fromStdin):
		return errors.New("a password needs --username: for a token of Pierless use any name")
	case c.user != "" && c.password == "" && !c.fromStdin:
		return errors.New("--username needs a password: set --password-stdin or PIERLESS_PASSWORD")
	}
	return nil
}

// read reads the password from standard input if the flag says so.
func (c *credentials) read(stdin io.Reader) error {
	if !c.fromStdin {
		return nil
	}
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the password: %w", err)
	}
	if c.password = strings.TrimRight(line, "\r\n"); c.password == "" {
		return errors.New("standard input contains no password")
	}
	return nil
}

// addInternalHosts adds the flag for client.Options.InternalHosts.
func addInternalHosts(cmd *cobra.Command, hosts *[]string) {
	cmd.Flags().StringSliceVar(hosts, "internal-host", nil,
		"host with an internal address to which a registry with a public one may send the client, for example "+
			"an S3 endpoint in a VPC")
}
