package upload_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// wantCode compares the code of an error for clients; an empty code means no error.
func wantCode(t *testing.T, err error, want oci.Code) {
	t.Helper()
	var got *oci.Error
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v", err)
	case want != "" && (!errors.As(err, &got) || got.Code != want):
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestParseChunk(t *testing.T) {
	for name, tt := range map[string]struct {
		contentRange           string
		contentLength          int64
		wantOffset, wantLength int64
		want                   oci.Code
	}{
		"no range":         {"", 5, -1, 5, ""},
		"a stream":         {"", -1, -1, -1, ""},
		"the spec's form":  {"10-14", 5, 10, 5, ""},
		"HTTP's form":      {"bytes 10-14/*", 5, 10, 5, ""},
		"unknown length":   {"0-1023", -1, 0, 1024, ""},
		"one byte":         {"7-7", 1, 7, 1, ""},
		"empty body":       {"nonsense", 0, -1, 0, ""},
		"nonsense":         {"nonsense", 5, 0, 0, oci.BlobUploadInvalid},
		"backwards":        {"14-10", 5, 0, 0, oci.BlobUploadInvalid},
		"too large":        {"0-9223372036854775807", -1, 0, 0, oci.BlobUploadInvalid},
		"negative":         {"-5-0", 5, 0, 0, oci.BlobUploadInvalid},
		"another length":   {"10-14", 6, 0, 0, oci.SizeInvalid},
		"off by one, less": {"10-14", 4, 0, 0, oci.SizeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPatch, "/", http.NoBody)
			r.ContentLength = tt.contentLength
			if tt.contentRange != "" {
				r.Header.Set("Content-Range", tt.contentRange)
			}
			c, err := upload.ParseChunk(r)
			wantCode(t, err, tt.want)
			if err == nil && (c.Offset != tt.wantOffset || c.Length != tt.wantLength) {
				t.Errorf("offset %d, length %d, want %d, %d", c.Offset, c.Length, tt.wantOffset, tt.wantLength)
			}
		})
	}
}

func TestParseFinish(t *testing.T) {
	d := oci.SHA256.FromBytes([]byte("abc"))
	for query, tt := range map[string]struct {
		size int64
		want oci.Code
	}{
		"digest=" + string(d):                {-1, ""},
		"size=3&digest=" + string(d):         {3, ""},
		"size=0&digest=" + string(d):         {0, ""},
		"size=&digest=" + string(d):          {0, oci.SizeInvalid},
		"size=-1&digest=" + string(d):        {0, oci.SizeInvalid},
		"size=3%20bytes&digest=" + string(d): {0, oci.SizeInvalid},
		"":                                   {0, oci.DigestInvalid},
		"digest=abc":                         {0, oci.DigestInvalid},
	} {
		f, err := upload.ParseFinish(httptest.NewRequest(http.MethodPut, "/?"+query, strings.NewReader("abc")))
		wantCode(t, err, tt.want)
		if err == nil && (f.Digest != d || f.Size != tt.size || f.Chunk.Length != 3 || f.Chunk.Offset != -1) {
			t.Errorf("%q: %+v", query, f)
		}
	}
	r := httptest.NewRequest(http.MethodPut, "/?digest="+string(d), strings.NewReader("abc"))
	r.Header.Set("Content-Range", "3-3")
	_, err := upload.ParseFinish(r)
	wantCode(t, err, oci.SizeInvalid)
}

func TestRange(t *testing.T) {
	for size, want := range map[int64]string{0: "0-0", 1: "0-0", 2: "0-1", 1 << 40: "0-1099511627775"} {
		if got := upload.Range(size); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}

// TestHashesContinue: a saved state, and a clone, hash on without the first bytes, and leave
// the original alone.
func TestHashesContinue(t *testing.T) {
	hs := upload.NewHashes("", oci.SHA512, oci.SHA512)
	hs.Add([]byte("one "))
	before, _ := hs.Digest(oci.SHA256)
	states, err := hs.States()
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := upload.LoadHashes(states)
	if err != nil {
		t.Fatal(err)
	}
	clone, err := hs.Clone()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []upload.Hashes{loaded, clone} {
		other.Add([]byte("two"))
		for _, a := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
			if got, computed := other.Digest(a); !computed || got != a.FromBytes([]byte("one two")) {
				t.Errorf("%s: %s, %v", a, got, computed)
			}
		}
		if other.Same(hs) || !other.Same(loaded) {
			t.Error("Same does not compare the bytes")
		}
	}
	if after, _ := hs.Digest(oci.SHA256); after != before {
		t.Error("the clone changed the original")
	}
	if _, computed := upload.NewHashes().Digest(oci.SHA512); computed {
		t.Error("sha512 is computed without an announcement")
	}
}

func TestLoadHashesRejects(t *testing.T) {
	states, err := upload.NewHashes(oci.SHA512).States()
	if err != nil {
		t.Fatal(err)
	}
	if hs, err := upload.LoadHashes(map[oci.Algorithm][]byte{oci.SHA256: states[oci.SHA256], oci.SHA512: nil}); err != nil || len(hs) != 1 {
		t.Errorf("without a state of sha512: %d hashes, %v", len(hs), err)
	}
	for name, bad := range map[string]map[oci.Algorithm][]byte{
		"no state":       {},
		"only sha512":    {oci.SHA512: states[oci.SHA512]},
		"an empty state": {oci.SHA256: nil, oci.SHA512: states[oci.SHA512]},
		"nonsense":       {oci.SHA256: make([]byte, sha256.Size)},
	} {
		if _, err := upload.LoadHashes(bad); err == nil {
			t.Errorf("%s was loaded", name)
		}
	}
}

func TestBody(t *testing.T) {
	known := oci.NewError(oci.TooManyRequests, "slow down")
	for name, tt := range map[string]struct {
		r      io.Reader
		length int64
		want   oci.Code
	}{
		"whole":            {strings.NewReader("abc"), 3, ""},
		"unknown length":   {strings.NewReader("abc"), -1, ""},
		"no reader":        {nil, 0, ""},
		"nothing came":     {nil, 3, oci.SizeInvalid},
		"short":            {strings.NewReader("ab"), 3, oci.SizeInvalid},
		"long":             {strings.NewReader("abcd"), 3, oci.SizeInvalid},
		"broken off":       {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)), 3, oci.BlobUploadInvalid},
		"a client's error": {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(known)), -1, oci.TooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			hs := upload.NewHashes()
			b := upload.NewBody(tt.r, hs)
			if tt.r != nil && b.Ended() {
				t.Error("it ended before it was read")
			}
			content, readErr := io.ReadAll(b)
			err := b.Check(tt.length)
			wantCode(t, err, tt.want)
			if (b.Broken() != nil) != (readErr != nil) || !b.Ended() || b.Len() != int64(len(content)) {
				t.Errorf("%d bytes, broken %v, ended %v; reading: %v", b.Len(), b.Broken(), b.Ended(), readErr)
			}
			if got, _ := hs.Digest(oci.SHA256); got != oci.SHA256.FromBytes(content) {
				t.Errorf("the digest is %s", got)
			}
			if n, again := b.Read(make([]byte, 1)); n != 0 || again == nil {
				t.Errorf("after the end: %d bytes, %v", n, again)
			}
			if readErr != nil && !errors.Is(err, readErr) {
				t.Errorf("%v lost its cause", err)
			}
		})
	}
}

func TestFinishCheck(t *testing.T) {
	content := []byte("abc")
	hs := upload.NewHashes()
	hs.Add(content)
	for name, tt := range map[string]struct {
		f        upload.Finish
		computed bool
		want     oci.Code
	}{
		"right":              {upload.Finish{Digest: oci.SHA256.FromBytes(content), Size: 3}, true, ""},
		"no size":            {upload.Finish{Digest: oci.SHA256.FromBytes(content), Size: -1}, true, ""},
		"another size":       {upload.Finish{Digest: oci.SHA256.FromBytes(content), Size: 4}, false, oci.SizeInvalid},
		"another digest":     {upload.Finish{Digest: oci.SHA256.FromBytes(nil), Size: 3}, true, oci.DigestInvalid},
		"unannounced sha512": {upload.Finish{Digest: oci.SHA512.FromBytes(nil), Size: 3}, false, ""},
	} {
		computed, err := tt.f.Check(hs, 3)
		wantCode(t, err, tt.want)
		if computed != tt.computed {
			t.Errorf("%s: computed is %v", name, computed)
		}
	}
}

func TestErrors(t *testing.T) {
	wantCode(t, &upload.OffsetError{Offset: 7}, oci.RangeInvalid)
	if got := (&upload.OffsetError{Offset: 7}).Error(); !strings.Contains(got, "byte 7") {
		t.Errorf("%q does not name the offset", got)
	}
	wantCode(t, upload.ErrUnknown(), oci.BlobUploadUnknown)
	wantCode(t, upload.ErrTakenOver(), oci.BlobUploadInvalid)
	wantCode(t, upload.CheckSize(3, -1), "")
	wantCode(t, upload.CheckSize(3, 4), oci.SizeInvalid)
}
