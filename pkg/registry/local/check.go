package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/pierless/pierless/pkg/registry"
)

// Check reports whether the directory can still be read. The error is for the operator.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.meta.Get(ctx, registry.Key{PK: "check", SK: "check"}); err != nil {
		return fmt.Errorf("reading from the embedded store: %w", err)
	}
	for _, dir := range []string{s.blobs.content, s.blobs.uploads} {
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("the directory of the embedded store was removed, stop the process and restore it: %w", err)
		}
	}
	return nil
}

// full marks the error of a full disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", registry.ErrFull, err)
	}
	return err
}
