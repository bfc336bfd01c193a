package local

import (
	"context"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// noDirect implements registry.Direct for a store of files, which have no URLs.
type noDirect struct{}

var _ registry.Direct = noDirect{}

// PresignPut implements registry.Direct.
func (noDirect) PresignPut(context.Context, string, oci.Digest, int64) (direct.Request, error) {
	return direct.Request{}, registry.ErrNoDirect
}

// StartParts implements registry.Direct.
func (noDirect) StartParts(context.Context, string) (registry.Stored, error) {
	return registry.Stored{}, registry.ErrNoDirect
}

// PresignPart implements registry.Direct.
func (noDirect) PresignPart(context.Context, string, registry.Stored, direct.Part) (direct.Request, error) {
	return direct.Request{}, registry.ErrNoDirect
}

// ListParts implements registry.Direct.
func (noDirect) ListParts(context.Context, string, registry.Stored) ([]direct.Part, error) {
	return nil, registry.ErrNoDirect
}

// CompleteParts implements registry.Direct.
func (noDirect) CompleteParts(context.Context, string, registry.Stored, func([]direct.Part) error) error {
	return registry.ErrNoDirect
}
