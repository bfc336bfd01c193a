//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// TestVerify: "pierless verify" finds no error in the registry.
func TestVerify(t *testing.T) {
	for _, store := range everywhere {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			var limit []string
			if store == "functions" {
				limit = []string{"--max-body", "4500000"}
			}
			out, err := s.examine(t, "verify", limit...).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// examine runs verify or doctor on the server with the administrator's login.
func (s *server) examine(t *testing.T, command string, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(built(t, "pierless"), append([]string{command, s.host}, flags...)...)
	if s.token != "" {
		cmd.Args = append(cmd.Args, "--username", administrator)
		cmd.Env = append(os.Environ(), "PIERLESS_PASSWORD="+s.token)
	}
	return cmd
}
