package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
// convert between them. An attribute name has the same meaning in every kind of row, but
// "t" (Renewed) is a different event in each. Times are in milliseconds since 1970, sizes
// in bytes.
//
// Repository names, tags and digests cannot contain '#', so two rows never have the same
// key. docs/design.md has the table of rows.

// AttrVersion is the attribute with the nonce of a row's last write.
const AttrVersion = "w"

// Names of the attributes that conditions and partial writes use.
const (
	attrVersion   = AttrVersion
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

// unchanged holds as long as no other write has changed the row since it had this version.
func unchanged(version string) Cond { return Equal(attrVersion, version) }

// inState holds if the row is in the state.
func inState[S ~string](state S) Cond { return Equal(attrState, string(state)) }

// tagRow points a tag at a manifest. The sort key is the tag: its byte order is the order of
// tags/list.
type tagRow struct {
	// Version is the nonce of the row's last write. Later writes require it, and a writer
	// that got no answer recognises its own write by it.
	Version   string     `row:"w"`
	Digest    oci.Digest `row:"d"` // Digest, MediaType and Size are those of the manifest
	MediaType string     `row:"m"`
	Size      int64      `row:"z"`
}

func tagKey(repo, tag string) Key { return Key{tagPartition(repo), tag} }

func tagPartition(repo string) string { return "T#" + repo }

// manifestRow records that a repository has a manifest, and names the rows that a delete
// must remove. The manifest rows of a repository share a partition, so that garbage
// collection can read all of them in one Query.
type manifestRow struct {
	Version   string        `row:"w"`
	State     manifestState `row:"s"`
	Renewed   int64         `row:"t"` // when it was last pushed
	Refs      []byte        `row:"f"` // references, which garbage collection must keep; see packDigests
	MediaType string        `row:"m"`
	Size      int64         `row:"z"`
	Key       string        `row:"k"` // content key of its bytes; empty if the content row holds them
	Subject   oci.Digest    `row:"j"`
	Referrer  string        `row:"i"` // sort key of its referrer row
}

type manifestState string

const (
	manifestPending manifestState = "pending" // invisible to clients, but protects its references
	manifestLive    manifestState = "live"
)

func manifestKey(repo string, d oci.Digest) Key { return Key{manifestPartition(repo), string(d)} }

func manifestPartition(repo string) string { return "M#" + repo }

// contentRow holds a manifest's bytes. It exists exactly while the manifest is live.
type contentRow struct {
	MediaType string `row:"m"`
	Size      int64  `row:"z"`
	Bytes     []byte `row:"b"` // empty if they are stored under Key
	Key       string `row:"k"`
}

func contentKey(repo string, d oci.Digest) Key { return Key{"C#" + repo + "#" + string(d), "C"} }

// edgeKey is the key of an edge: a row with no attribute but its version, which leads from a
// manifest back to a tag. Every tag has an edge from its manifest; an edge may outlive its tag.
func edgeKey(repo string, d oci.Digest, tag string) Key { return Key{edgePartition(repo, d), tag} }

func edgePartition(repo string, d oci.Digest) string { return "E#" + repo + "#" + string(d) }

// referrerRow lists a manifest under its subject.
type referrerRow struct {
	Digest oci.Digest `row:"d"`
	Bytes  []byte     `row:"b"` // descriptor as JSON; empty if it is too large for a row
}

// referrerKey has a sort key that begins with the artifact type and a NUL ('#' is legal in
// media types), so that a filter by artifact type is a prefix.
func referrerKey(repo string, subject oci.Digest, artifactType string, d oci.Digest) Key {
	return Key{referrerPartition(repo, subject), artifactTypePrefix(artifactType) + string(d)}
}

func referrerPartition(repo string, subject oci.Digest) string {
	return "F#" + repo + "#" + string(subject)
}

// maxSortKey is the length of the longest sort key, in bytes. maxArtifactTypeKey bounds the
// artifact type in a referrer's sort key, so that the key stays below maxSortKey.
const (
	maxSortKey         = 1024
	maxArtifactTypeKey = 512
)

// artifactTypePrefix replaces an artifact type by its SHA-256 if the type is too long for a
// key, contains a byte that separates the parts of a key, or is not valid UTF-8. The
// prefix \x01 marks a hash: media types cannot begin with it.
func artifactTypePrefix(artifactType string) string {
	if len(artifactType) > maxArtifactTypeKey || strings.ContainsAny(artifactType, "\x00\x01") || !utf8.ValidString(artifactType) {
		sum := sha256.Sum256([]byte(artifactType))
		return "\x01" + hex.EncodeToString(sum[:]) + "\x00"
	}
	return artifactType + "\x00"
}

// blobRow maps a digest to the object that has its content.
type blobRow struct {
	State   blobState `row:"s"`
	Key     string    `row:"k"` // content key
	Size    int64     `row:"z"`
	Renewed int64     `row:"t"` // start of its lease, which lasts one grace
}

type blobState string

const (
	blobLive      blobState = "live"
	blobCondemned blobState = "condemned" // about to be deleted, unless its lease is renewed
)

func blobKey(d oci.Digest) Key { return Key{blobPartition(d), blobSortKey} }

const blobSortKey = "B" // sorts before the links

func blobPartition(d oci.Digest) string { return "B#" + string(d) }

// linkRow records that a repository has a blob. It is a copy of the blob's row, so that a
// pull reads only one row. Blob and links share a partition, so that one Query answers
// whether any link is left.
type linkRow blobRow

func linkKey(repo string, d oci.Digest) Key { return Key{blobPartition(d), linkPrefix + repo} }

// linkDigest returns the digest of the blob that a link leads to.
func linkDigest(link Key) oci.Digest {
	return oci.Digest(strings.TrimPrefix(link.PK, blobPartition("")))
}

const linkPrefix = "L#"

// objectRow is the row of a content key. It begins as an upload session (open), or as live
// if the content is the bytes of a manifest.
type objectRow struct {
	Version string      `row:"w"`
	State   objectState `row:"s"`
	Repo    string      `row:"r"` // repository of the push
	Digest  oci.Digest  `row:"d"` // of the resulting blob or manifest; empty while open
	Size    int64       `row:"z"` // of the content; for a direct upload, the announced size

	// The fields below are only for upload sessions. A dead session keeps Stored and Hashed
	// until its bytes are deleted.
	Expires  int64  `row:"x"`
	Stored   []byte `row:"u"` // Stored.State of the port
	Hashed   int64  `row:"o"` // bytes in the running hashes: those appended or, of a direct upload, verified
	Complete bool   `row:"a"` // the store has all bytes, but their digest has not been verified

	// TTL is the time, in seconds since 1970, after which DynamoDB deletes a dead row.
	TTL int64 `row:"ttl"`
}

// uploadRow is the object row of an upload through the registry.
type uploadRow struct {
	objectRow
	NextPart int64 `row:"n"` // lowest part number that no claim has taken
}

// directRow is the object row of an upload straight to the store.
type directRow struct {
	objectRow
	Offered  oci.Digest `row:"e"` // announced digest; Digest is empty until the upload is a blob
	PartSize int64      `row:"p"` // in bytes; 0 if the client sends one PUT
	Lease    int64      `row:"l"` // end of the verification lease, 0 without one; absent until Complete
}

type objectState string

const (
	objectOpen objectState = "open" // an upload session
	objectLive objectState = "live" // content of a blob or manifest
	objectDead objectState = "dead" // final: the content is or will be deleted
)

func objectKey(key string) Key { return Key{"K#" + key, "K"} }

// repositoryRow is the entry of a repository in the catalog.
type repositoryRow struct {
	Version string          `row:"w"`
	State   repositoryState `row:"s"`
	Renewed int64           `row:"t"` // time of the last change of its state
}

type repositoryState string

const (
	repositoryLive repositoryState = "live"
	repositoryIdle repositoryState = "idle" // about to be deleted, unless a manifest is pushed
)

func repositoryKey(repo string) Key { return Key{catalogPartition, repo} }

const catalogPartition = "N"

// reviewRow queues a link, a blob, the references of a deleted manifest, or a repository without
// manifests for garbage collection.
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
	reviewRepo     reviewKind = "repository"
)

// queueShards is the number of partitions of each queue (reviews and expiries). More than one
// partition spreads the write load.
const queueShards = 16

// reviewKey sorts reviews by the time since which the content may be idle: the review is due one
// grace later. The nonce separates two reviews with the same time.
func reviewKey(subject string, since int64, nonce string) Key {
	return Key{reviewPartition(shard(subject)), dueKey(since, nonce)}
}

func reviewPartition(shard int) string { return fmt.Sprintf("Q#%02d", shard) }

// expiryRow queues an upload for ExpireUploads, under the time at which the upload expires.
// The queue is separate from the reviews because it is read more often.
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

// dueOf returns the time in the key of a review or expiry.
func dueOf(k Key) int64 {
	digits, _, _ := strings.Cut(k.SK, "#")
	due, _ := strconv.ParseInt(digits, 10, 64) // written by dueKey
	return due
}

// encode returns the attributes of a row struct. It omits zero values, so the attributes of
// a struct with a few fields set, used with Set, change only those fields. It also omits
// the version, because every write gets a new one.
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

// decode is the inverse of encode, and also decodes the version. A field whose attribute is
// missing, or has another type, gets its zero value; nil Attrs (the row does not exist) give
// the zero T.
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

// eachField calls visit with each field of a row struct and of the structs embedded in it,
// and with the name of its attribute.
func eachField(row reflect.Value, visit func(name string, field reflect.Value)) {
	for i := range row.NumField() {
		if field := row.Type().Field(i); field.Anonymous {
			eachField(row.Field(i), visit)
		} else {
			visit(field.Tag.Get("row"), row.Field(i))
		}
	}
}

// packDigests encodes manifestRow.Refs: for each digest, one byte for the algorithm ('2' or
// '5', from sha256 and sha512), then the raw sum. 10,000 sha256 digests take 330,000
// bytes; a DynamoDB item holds 400 KiB.
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

var errPacked = errors.New("malformed digest list")

// unpackDigests is the inverse of packDigests.
func unpackDigests(packed []byte) ([]oci.Digest, error) {
	var ds []oci.Digest
	for len(packed) > 0 {
		var algorithm oci.Algorithm
		switch packed[0] {
		case oci.SHA256[3]:
			algorithm = oci.SHA256
		case oci.SHA512[3]:
			algorithm = oci.SHA512
		default:
			return nil, fmt.Errorf("%w: algorithm byte %d", errPacked, packed[0])
		}
		size := algorithm.New().Size()
		if len(packed) < 1+size {
			return nil, fmt.Errorf("%w: cut off", errPacked)
		}
		ds = append(ds, oci.Digest(string(algorithm)+":"+hex.EncodeToString(packed[1:1+size])))
		packed = packed[1+size:]
	}
	return ds, nil
}

// version returns the version of a row.
func (row Row) version() string {
	return row.Attrs.text(attrVersion)
}

// text returns an attribute that is a string, or "".
func (a Attrs) text(name string) string {
	value, _ := a[name].(string)
	return value
}
