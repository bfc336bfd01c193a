package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pierless/pierless/pkg/oci"
)

// All keys of the data model. '#' stands in no repository name, tag or digest, so
// no two rows can meet. docs/design.md has the table of rows.

// reviewShards spreads the review queue, so that its writes share no partition.
const reviewShards = 16

// maxSortKey is the longest sort key, in bytes; maxArtifactTypeKey keeps a
// referrer's under it.
const (
	maxSortKey         = 1024
	maxArtifactTypeKey = 512
)

// tagKey is the row of a tag: what it points at. Byte order of the sort key is
// the order of tags/list.
func tagKey(repo, tag string) Key { return Key{tagPartition(repo), tag} }

func tagPartition(repo string) string { return "T#" + repo }

// manifestKey is the thin row of a manifest: state, generation, what it refers to.
// The rows of one repository lie together, for the sweep reads them in one go.
func manifestKey(repo string, d oci.Digest) Key { return Key{"M#" + repo, string(d)} }

// contentKey is the row of a manifest's bytes. It is there exactly while the
// manifest is visible.
func contentKey(repo string, d oci.Digest) Key { return Key{"C#" + repo + "#" + string(d), "C"} }

// edgeKey says that a tag may point at a manifest. A tag that does always has its
// edge; an edge may outlive the tag.
func edgeKey(repo string, d oci.Digest, tag string) Key { return Key{edgePartition(repo, d), tag} }

func edgePartition(repo string, d oci.Digest) string { return "E#" + repo + "#" + string(d) }

// referrerKey is the row of a manifest under its subject. The artifact type comes
// first, ended by a NUL ('#' is legal in media types), so that a filter is a prefix.
func referrerKey(repo string, subject oci.Digest, artifactType string, d oci.Digest) Key {
	return Key{referrerPartition(repo, subject), artifactTypePrefix(artifactType) + string(d)}
}

func referrerPartition(repo string, subject oci.Digest) string {
	return "F#" + repo + "#" + string(subject)
}

// artifactTypePrefix hashes what is too long for a key, would break the order, or is
// no text that a store could hold; no media type begins with \x01.
func artifactTypePrefix(artifactType string) string {
	if len(artifactType) > maxArtifactTypeKey || strings.ContainsAny(artifactType, "\x00\x01") || !utf8.ValidString(artifactType) {
		sum := sha256.Sum256([]byte(artifactType))
		return "\x01" + hex.EncodeToString(sum[:]) + "\x00"
	}
	return artifactType + "\x00"
}

// blobKey is the blob item: the S3 key of a digest. linkKey says that a repository
// has the blob. They share a partition, so that "is any link left?" is one Query.
func blobKey(d oci.Digest) Key { return Key{blobPartition(d), "B"} }

func linkKey(repo string, d oci.Digest) Key { return Key{blobPartition(d), linkPrefix + repo} }

func blobPartition(d oci.Digest) string { return "B#" + string(d) }

const linkPrefix = "L#"

// objectKey is the row of a content key, which is also its upload session.
func objectKey(key string) Key { return Key{"K#" + key, "K"} }

// repositoryKey is the catalog's row of a repository.
func repositoryKey(repo string) Key { return Key{catalogPartition, repo} }

const catalogPartition = "N"

// reviewKey is a row of the review queue: what is to be looked at, from when on.
// The nonce keeps two reviews of one millisecond apart.
func reviewKey(subject string, due int64, nonce string) Key {
	return Key{fmt.Sprintf("Q#%02d", shard(subject)), dueKey(due, nonce)}
}

// sessionKey is a row of the list of uploads by the time that they expire. It is a
// queue of its own: it is looked through more often than the other.
func sessionKey(key string, due int64, nonce string) Key {
	return Key{sessionPartition(shard(key)), dueKey(due, nonce)}
}

func sessionPartition(shard int) string { return fmt.Sprintf("Q#U%02d", shard) }

func shard(subject string) int {
	h := fnv.New32a()
	h.Write([]byte(subject))
	return int(h.Sum32() % reviewShards)
}

func dueKey(due int64, nonce string) string { return fmt.Sprintf("%015d#%s", due, nonce) }

// dueOf is the time in such a key, in milliseconds since 1970.
func dueOf(k Key) int64 {
	digits, _, _ := strings.Cut(k.SK, "#")
	due, _ := strconv.ParseInt(digits, 10, 64) // written by dueKey
	return due
}
