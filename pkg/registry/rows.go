package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pierless/pierless/pkg/oci"
)

// The data model: each kind of row is a key and a struct. The tag of a field is the name
// of its attribute, short because DynamoDB bills each byte of it; encode and decode
// convert. A name means the same in every kind of row. Times are in milliseconds since
// 1970, sizes in bytes.
//
// '#' stands in no repository name, tag or digest, so no two keys can be equal.
// docs/design.md has the table of rows.

// Attributes that conditions and partial writes name.
const (
	attrVersion   = "w"
	attrState     = "s"
	attrRenewed   = "t"
	attrDigest    = "d"
	attrKey       = "k"
	attrMediaType = "m"
	attrRepo      = "r"
	attrExpires   = "x"
	attrHashed    = "o"
	attrStored    = "u"
	attrNextPart  = "n"
	attrComplete  = "a"
	attrLease     = "l"

	// The states of the running hashes of an upload.
	attrSHA256 = "h2"
	attrSHA512 = "h5"
)

// unchanged holds while the row has the version: nothing has written to it since.
func unchanged(version string) Cond { return Equal(attrVersion, version) }

// inState holds while the row has one of its states.
func inState[S ~string](state S) Cond { return Equal(attrState, string(state)) }

// tagRow points a tag at a manifest. The sort key is the tag: its byte order is the order of
// tags/list.
type tagRow struct {
	// Version is the nonce of the row's last write: later writes require it, and a
	// writer whose answer was lost recognises its own row by it.
	Version   string     `row:"w"`
	Digest    oci.Digest `row:"d"` // of the manifest, as MediaType and Size
	MediaType string     `row:"m"`
	Size      int64      `row:"z"`
}

func tagKey(repo, tag string) Key { return Key{tagPartition(repo), tag} }

func tagPartition(repo string) string { return "T#" + repo }

// manifestRow says that a manifest is in a repository, and lists the rows that a delete
// must remove. The rows of a repository share a partition, so that the sweep reads them
// together.
type manifestRow struct {
	Version   string        `row:"w"`
	State     manifestState `row:"s"`
	Renewed   int64         `row:"t"` // when it was last pushed
	Refs      []byte        `row:"f"` // digests that the sweep must keep for it, packed
	MediaType string        `row:"m"`
	Size      int64         `row:"z"`
	Key       string        `row:"k"` // content key of its bytes; empty: the content row has them
	Subject   oci.Digest    `row:"j"`
	Referrer  string        `row:"i"` // sort key of its referrer row
}

type manifestState string

const (
	manifestPending manifestState = "pending" // not visible, but protects its references
	manifestLive    manifestState = "live"
)

func manifestKey(repo string, d oci.Digest) Key { return Key{"M#" + repo, string(d)} }

// contentRow has a manifest's bytes. It is there exactly while the manifest is visible.
type contentRow struct {
	MediaType string `row:"m"`
	Size      int64  `row:"z"`
	Bytes     []byte `row:"b"` // empty: they are under Key
	Key       string `row:"k"`
}

func contentKey(repo string, d oci.Digest) Key { return Key{"C#" + repo + "#" + string(d), "C"} }

// edgeKey is a row without attributes, which leads from a manifest back to a tag. A tag
// that points at the manifest always has its edge; an edge may outlive the tag.
func edgeKey(repo string, d oci.Digest, tag string) Key { return Key{edgePartition(repo, d), tag} }

func edgePartition(repo string, d oci.Digest) string { return "E#" + repo + "#" + string(d) }

// referrerRow lists a manifest under its subject.
type referrerRow struct {
	Digest oci.Digest `row:"d"`
	Bytes  []byte     `row:"b"` // descriptor as JSON; empty if it is too large for a row
}

// referrerKey begins with the artifact type, ended by a NUL ('#' is legal in media types), so
// that a filter is a prefix.
func referrerKey(repo string, subject oci.Digest, artifactType string, d oci.Digest) Key {
	return Key{referrerPartition(repo, subject), artifactTypePrefix(artifactType) + string(d)}
}

func referrerPartition(repo string, subject oci.Digest) string {
	return "F#" + repo + "#" + string(subject)
}

// maxSortKey is the longest sort key, in bytes; maxArtifactTypeKey keeps a referrer's
// under it.
const (
	maxSortKey         = 1024
	maxArtifactTypeKey = 512
)

// artifactTypePrefix hashes a type that is too long for a key, would break the order, or is
// no text that a store could hold; no media type begins with \x01.
func artifactTypePrefix(artifactType string) string {
	if len(artifactType) > maxArtifactTypeKey || strings.ContainsAny(artifactType, "\x00\x01") || !utf8.ValidString(artifactType) {
		sum := sha256.Sum256([]byte(artifactType))
		return "\x01" + hex.EncodeToString(sum[:]) + "\x00"
	}
	return artifactType + "\x00"
}

// blobRow says which object has the content of a digest.
type blobRow struct {
	State   blobState `row:"s"`
	Key     string    `row:"k"` // content key
	Size    int64     `row:"z"`
	Renewed int64     `row:"t"` // when its lease was renewed: the sweep leaves it alone for a grace
}

type blobState string

const (
	blobLive      blobState = "live"
	blobCondemned blobState = "condemned" // the sweep is about to delete the row, unless its lease is renewed
)

func blobKey(d oci.Digest) Key { return Key{blobPartition(d), "B"} }

func blobPartition(d oci.Digest) string { return "B#" + string(d) }

// linkRow says that a repository has a blob. It repeats the blob's row, so that a pull
// reads one row. They share a partition, so that "is any link left?" is one Query.
type linkRow blobRow

func linkKey(repo string, d oci.Digest) Key { return Key{blobPartition(d), linkPrefix + repo} }

const linkPrefix = "L#"

// objectRow is the row of a content key, which begins as an upload session or, for the
// bytes of a manifest, live.
type objectRow struct {
	Version string      `row:"w"`
	State   objectState `row:"s"`
	Repo    string      `row:"r"` // repository of the push
	Digest  oci.Digest  `row:"d"` // that the upload has become, under this key or another
	Size    int64       `row:"z"` // of the content; of a direct upload, as announced

	// Of upload sessions. A dead one keeps Stored until its bytes are dropped.
	Expires  int64  `row:"x"`
	Stored   []byte `row:"u"` // Stored.State
	Hashed   int64  `row:"o"` // bytes that the running hashes have: all stored ones, or those verified
	Complete bool   `row:"a"` // all bytes are in place, and only their digest is unproven
}

// uploadRow is the object row of an upload through the registry.
type uploadRow struct {
	objectRow
	NextPart int64 `row:"n"` // first part number that no claim has
}

// directRow is the object row of an upload straight to the store.
type directRow struct {
	objectRow
	Offered  oci.Digest `row:"e"` // announced; Digest is empty until the upload has become a blob
	PartSize int64      `row:"p"` // 0: one PUT
	Lease    int64      `row:"l"` // a verification runs until then; 0: none. Only complete uploads have it
}

type objectState string

const (
	objectOpen objectState = "open" // an upload session
	objectLive objectState = "live" // content of a blob or manifest
	objectDead objectState = "dead" // final: the content is or will be deleted
)

func objectKey(key string) Key { return Key{"K#" + key, "K"} }

// repositoryRow is the catalog's entry of a repository.
type repositoryRow struct {
	Renewed int64 `row:"t"` // when it was first pushed to
}

func repositoryKey(repo string) Key { return Key{catalogPartition, repo} }

const catalogPartition = "N"

// reviewRow asks the sweep to look at a link, a blob, or the references of a deleted
// manifest.
type reviewRow struct {
	Kind   reviewKind `row:"y"`
	Repo   string     `row:"r"`
	Digest oci.Digest `row:"d"`
	Refs   []byte     `row:"f"`
}

type reviewKind string

const (
	reviewLink     reviewKind = "link"
	reviewBlob     reviewKind = "blob"
	reviewManifest reviewKind = "manifest"
)

// queueShards spreads both queues, so that their writes share no partition.
const queueShards = 16

// reviewKey has the time from which on the sweep may look. The nonce keeps two reviews of
// one millisecond apart.
func reviewKey(subject string, due int64, nonce string) Key {
	return Key{fmt.Sprintf("Q#%02d", shard(subject)), dueKey(due, nonce)}
}

// expiryRow lists an upload under the time that it expires, in a queue apart from the
// reviews: it is read more often.
type expiryRow struct {
	Key string `row:"k"` // content key
}

func expiryKey(key string, expires int64, nonce string) Key {
	return Key{expiryPartition(shard(key)), dueKey(expires, nonce)}
}

func expiryPartition(shard int) string { return fmt.Sprintf("Q#U%02d", shard) }

func shard(subject string) int {
	h := fnv.New32a()
	h.Write([]byte(subject))
	return int(h.Sum32() % queueShards)
}

func dueKey(due int64, nonce string) string { return fmt.Sprintf("%015d#%s", due, nonce) }

// dueOf is the time in the key of a queue's row.
func dueOf(k Key) int64 {
	digits, _, _ := strings.Cut(k.SK, "#")
	due, _ := strconv.ParseInt(digits, 10, 64) // written by dueKey
	return due
}

// encode returns the attributes of a row struct. It leaves out zero values, which decode
// restores, so a struct with few fields set is also the change of those fields alone; and
// the version, which every write sets anew.
func encode(row any) Attrs {
	attrs := Attrs{}
	eachField(reflect.ValueOf(row), func(name string, field reflect.Value) {
		if field.IsZero() || name == attrVersion {
			return
		}
		switch field.Kind() {
		case reflect.String:
			attrs[name] = field.String()
		case reflect.Int64:
			attrs[name] = field.Int()
		case reflect.Bool:
			attrs[name] = int64(1)
		default:
			attrs[name] = field.Bytes()
		}
	})
	return attrs
}

// decode is the inverse of encode. Attributes that are missing, or of another type, are
// zero values; nil Attrs, no row, are the zero T.
func decode[T any](attrs Attrs) (row T) {
	eachField(reflect.ValueOf(&row).Elem(), func(name string, field reflect.Value) {
		switch value := attrs[name].(type) {
		case string:
			if field.Kind() == reflect.String {
				field.SetString(value)
			}
		case []byte:
			if field.Kind() == reflect.Slice {
				field.SetBytes(value)
			}
		case int64:
			if field.CanInt() {
				field.SetInt(value)
			} else if field.Kind() == reflect.Bool {
				field.SetBool(value == 1)
			}
		}
	})
	return row
}

// eachField visits the fields of a row struct, and of those embedded in it, under the
// names of their attributes.
func eachField(row reflect.Value, visit func(name string, field reflect.Value)) {
	for i := range row.NumField() {
		if field := row.Type().Field(i); field.Anonymous {
			eachField(row.Field(i), visit)
		} else {
			visit(field.Tag.Get("row"), row.Field(i))
		}
	}
}

// packDigests is the form of manifestRow.Refs: per digest one byte for the algorithm, then
// the raw sum. 10,000 sha256 digests take 330 KB, under DynamoDB's 400 KB an item.
func packDigests(ds []oci.Digest) []byte {
	var packed []byte
	for _, d := range ds {
		raw, err := hex.DecodeString(d.Encoded())
		if err != nil {
			panic("registry: unchecked digest " + string(d))
		}
		packed = append(packed, d.Algorithm()[3])
		packed = append(packed, raw...)
	}
	return packed
}
