package local_test

import (
	"testing"

	"github.com/pierless/pierless/internal/tmpfs"
)

func TestMain(m *testing.M) {
	tmpfs.Use()
	m.Run()
}
