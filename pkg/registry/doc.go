// Package registry is the rules: what a push, a pull, a mount and a delete read
// and write, in which order, and what each write requires to be still true. It
// owns the data model (keys.go, rows.go) and the two ports that it needs: Blobs
// for immutable content, Names for everything mutable.
//
// The order is always content first, name last, so that a crash leaves garbage,
// never a name for something that is missing. docs/design.md explains each
// condition.
//
// It must not know about HTTP, AWS, files or configuration.
package registry
