//go:build e2e

package e2e

import (
	"os/exec"
	"testing"
)

// TestVerify: the built command finds nothing wrong with the built registry.
func TestVerify(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			out, err := exec.Command(builtBinary(t), "verify", s.host).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
