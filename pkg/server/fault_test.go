package server_test

import (
	"context"
	"errors"

	"github.com/pierless/pierless/pkg/registry"
)

// broken is a store that cannot be read.
type broken struct{ registry.Names }

func (broken) Get(context.Context, ...registry.Key) ([]registry.Row, error) {
	return nil, errors.New("secret host refused the connection")
}
