package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// credentials are a user and a password for a registry that another command runs.
// The password is no flag: those are seen in the list of processes.
type credentials struct {
	user, password string
	fromStdin      bool
}

func (c *credentials) addFlags(cmd *cobra.Command, getenv func(string) string) {
	f := cmd.Flags()
	c.password = getenv("PIERLESS_PASSWORD")
	f.StringVar(&c.user, "username", getenv("PIERLESS_USERNAME"), "user, where the registry wants one (PIERLESS_USERNAME)")
	f.BoolVar(&c.fromStdin, "password-stdin", false, "read the password from standard input; else it is PIERLESS_PASSWORD")
}

// read takes the password from where the flags say.
func (c *credentials) read(stdin io.Reader) error {
	if !c.fromStdin {
		return nil
	}
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the password: %w", err)
	}
	if c.password = strings.TrimRight(line, "\r\n"); c.password == "" {
		return errors.New("standard input has no password")
	}
	return nil
}

// addInternalHosts adds the flag that names hosts to which a registry may send its clients.
func addInternalHosts(cmd *cobra.Command, hosts *[]string) {
	cmd.Flags().StringSliceVar(hosts, "internal-host", nil,
		"host to which the registry may send layers although it is at an internal address and the registry "+
			"is not: an S3 endpoint in a VPC, for example")
}
