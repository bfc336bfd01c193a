// Package registry implements the rules of a registry: the reads and writes of a push, a
// pull, a mount and a delete, their order, and the condition of each write. It owns the
// data model (rows.go) and its two ports: Blobs for immutable content, Metadata for
// everything mutable.
//
// A request always writes content first and its name last, so a crash leaves garbage, never
// a name for missing content. docs/design.md explains each condition.
//
// It must not know about HTTP, AWS, files or configuration.
package registry
