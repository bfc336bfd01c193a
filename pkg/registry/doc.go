// Package registry implements the rules of a registry: the reads and writes of a push, a
// pull, a mount and a delete, their order, and the condition of each write. It owns the
// data model (rows.go) and the two ports (ports.go): Blobs for immutable content, Metadata
// for everything mutable.
//
// A request always writes content before the row that refers to it. A crash therefore
// leaves garbage, but never a tag, digest or link whose content is missing. docs/design.md
// explains each condition.
//
// The comments of this package use these terms:
//
//   - A content key is the key of an object in Blobs: the bytes of a blob, an upload, or a
//     manifest above 64 KiB.
//   - A session is the row of an upload in progress. A claim is the right of one request to
//     append to the session; a later claim takes it over.
//   - A link is the row by which a repository has a blob. Its lease protects it from garbage
//     collection for one grace (24 hours by default) after the last renewal. A lease older
//     than half a grace counts as expired: a request that relies on it renews it first.
//   - Garbage collection will delete links and blobs that no manifest references. It is not
//     implemented yet; the rules here already protect pushes from it (docs/design.md,
//     "Rules for garbage collection"). A review is a row that queues work for it.
//   - The sweep is the hourly run of ExpireUploads, the only clean-up that exists so far.
//
// It must not handle HTTP requests, call AWS, open files or read configuration.
package registry
