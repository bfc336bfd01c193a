package oci_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/pkg/oci"
)

func TestCheckName(t *testing.T) {
	good := []string{"a", "0", "a/b", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c/d/e", "blobs/uploads", "a0.b1_c2__d3--e4", strings.Repeat("a", 255), strings.Repeat("a/", 127) + "a"}
	for _, s := range good {
		if err := oci.CheckName(s); err != nil {
			t.Errorf("%q is refused: %v", s, err)
		}
	}
	bad := []string{"", "/", "/a", "a/", "a//b", "A", "a..b", "a___b", "a._b", "a-_b", "-a", "a-", ".a", "a.", "_a", "a_", "a b", "a:b", "a@b", "ä", "a\x00", "..", "a/../b", strings.Repeat("a", 256)}
	for _, s := range bad {
		if err := oci.CheckName(s); !errors.Is(err, oci.NewError(oci.NameInvalid, "")) {
			t.Errorf("%q gives %v, want NAME_INVALID", s, err)
		}
	}
}

func TestCheckTag(t *testing.T) {
	for _, s := range []string{"latest", "1.0", "_x", "A-b.C_d", strings.Repeat("x", 128), "blobs"} {
		if err := oci.CheckTag(s); err != nil {
			t.Errorf("%q is refused: %v", s, err)
		}
	}
	for _, s := range []string{"", ".x", "-x", "a b", "a/b", "a:b", "ä", "a\n", strings.Repeat("x", 129)} {
		if err := oci.CheckTag(s); !errors.Is(err, oci.NewError(oci.TagInvalid, "")) {
			t.Errorf("%q gives %v, want TAG_INVALID", s, err)
		}
	}
}

func TestDigest(t *testing.T) {
	for _, a := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		d := a.FromBytes([]byte("pierless"))
		parsed, err := oci.ParseDigest(string(d))
		if err != nil || parsed != d || parsed.Algorithm() != a || len(parsed.Encoded()) != 2*a.New().Size() {
			t.Errorf("ParseDigest(%s) = %s, %v", d, parsed, err)
		}
		for _, bad := range []string{strings.ToUpper(string(d)), string(d) + "0", string(d)[:20], strings.Replace(string(d), ":", "", 1), "x" + string(d), string(a) + ":" + strings.Repeat("g", len(d.Encoded()))} {
			if _, err := oci.ParseDigest(bad); !errors.Is(err, oci.NewError(oci.DigestInvalid, "")) {
				t.Errorf("ParseDigest(%q) gives %v, want DIGEST_INVALID", bad, err)
			}
		}
	}
}

func TestReference(t *testing.T) {
	d := oci.SHA256.FromBytes(nil)
	for s, want := range map[string]oci.Reference{"latest": {Tag: "latest"}, string(d): {Digest: d}} {
		got, err := oci.ParseReference(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("ParseReference(%q) = %+v, %v", s, got, err)
		}
	}
}

// TestErrorsRoundTrip holds that a client decodes what the server encodes.
func TestErrorsRoundTrip(t *testing.T) {
	for _, d := range oci.Codes() {
		sent := oci.Errors{
			{Code: d.Code, Message: "what to do", Detail: map[string]any{"digest": "sha256:x", "n": 1.0}},
			{Code: d.Code},
		}
		wire, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		var got oci.Errors
		if err := json.Unmarshal(wire, &got); err != nil {
			t.Fatal(err)
		}
		want := oci.Errors{sent[0], {Code: d.Code, Message: d.Message}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s changed on the way: %s", d.Code, diff)
		}
		if !errors.Is(got, oci.NewError(d.Code, "")) || got.Status() != d.Status {
			t.Errorf("%s decodes to %v with status %d", d.Code, got, got.Status())
		}
	}
}

func TestErrorsFromOthers(t *testing.T) {
	var got oci.Errors
	if err := json.Unmarshal([]byte(`{"errors":[null,{"code":"ELSEWHERE","message":"m","detail":[1]}]}`), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Code != "ELSEWHERE" || got.Status() != http.StatusInternalServerError {
		t.Errorf("got %+v with status %d", got, got.Status())
	}
	if err := json.Unmarshal([]byte(`<html>`), &got); err == nil {
		t.Error("no JSON was accepted")
	}
	if (oci.Errors{}).Status() != http.StatusInternalServerError {
		t.Error("no errors should be an internal error")
	}
}

func TestStatusCanBeReplaced(t *testing.T) {
	e := oci.NewError(oci.SizeInvalid, "too large")
	e.Status = http.StatusRequestEntityTooLarge
	if got := (oci.Errors{e}).Status(); got != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", got)
	}
}

const (
	zero = `"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0`
	conf = `"config":{"mediaType":"application/x-conf",` + zero + `}`
)

func TestParseManifest(t *testing.T) {
	d := oci.SHA256.FromBytes(nil)
	config := oci.Descriptor{MediaType: "application/x-conf", Digest: d}
	layer := oci.Descriptor{MediaType: "application/x-layer", Digest: d}
	tests := []struct {
		name, contentType, content string
		want                       oci.Manifest
	}{
		{
			"image", oci.MediaTypeImageManifest,
			`{` + conf + `,"layers":[{"mediaType":"application/x-layer",` + zero + `}]}`,
			oci.Manifest{MediaType: oci.MediaTypeImageManifest, Blobs: []oci.Descriptor{config, layer}, ArtifactType: "application/x-conf"},
		},
		{
			"type from the content, parameters ignored", "application/json; charset=utf-8",
			`{"mediaType":"` + oci.MediaTypeDockerManifest + `",` + conf + `}`,
			oci.Manifest{MediaType: oci.MediaTypeDockerManifest, Blobs: []oci.Descriptor{config}, ArtifactType: "application/x-conf"},
		},
		{
			"artifact with subject", oci.MediaTypeImageManifest,
			`{"artifactType":"application/x-sbom",` + conf + `,"subject":{` + zero + `},"annotations":{"a":"b"}}`,
			oci.Manifest{MediaType: oci.MediaTypeImageManifest, Blobs: []oci.Descriptor{config}, ArtifactType: "application/x-sbom", Subject: d, Annotations: map[string]string{"a": "b"}},
		},
		{
			"index", oci.MediaTypeImageIndex,
			`{"manifests":[{"mediaType":"application/x-layer",` + zero + `}]}`,
			oci.Manifest{MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{layer}},
		},
		{
			"names of fields are exact", oci.MediaTypeImageManifest,
			`{` + conf + `,"LAYERS":[],"Config":1,"layers":[{"mediaType":"application/x-layer","Digest":"x","SIZE":7,` + zero + `}],"Layers":[]}`,
			oci.Manifest{MediaType: oci.MediaTypeImageManifest, Blobs: []oci.Descriptor{config, layer}, ArtifactType: "application/x-conf"},
		},
		{
			"unknown type", "application/vnd.example+json", `{"blobs":[1,2]}`,
			oci.Manifest{MediaType: "application/vnd.example+json"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := oci.ParseManifest(tt.contentType, []byte(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ contentType, content string }{
		"no JSON":             {oci.MediaTypeImageManifest, `{`},
		"no object":           {oci.MediaTypeImageManifest, `[]`},
		"empty":               {oci.MediaTypeImageManifest, ``},
		"two values":          {oci.MediaTypeImageManifest, `{}{}`},
		"null":                {oci.MediaTypeImageManifest, `null`},
		"layers twice":        {oci.MediaTypeImageManifest, `{` + conf + `,"layers":[{` + zero + `}],"layers":[]}`},
		"digest twice":        {oci.MediaTypeImageManifest, `{"config":{` + zero + `,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}`},
		"no config":           {oci.MediaTypeImageManifest, `{}`},
		"no type":             {"", `{}`},
		"types differ":        {oci.MediaTypeImageManifest, `{"mediaType":"` + oci.MediaTypeImageIndex + `"}`},
		"schema 1":            {oci.MediaTypeDockerSigned1, `{}`},
		"malformed digest":    {oci.MediaTypeImageManifest, `{"config":{"digest":"sha256:..","size":1}}`},
		"negative size":       {oci.MediaTypeImageManifest, `{"config":{` + strings.Replace(zero, `:0`, `:-1`, 1) + `}}`},
		"malformed subject":   {oci.MediaTypeImageManifest, `{` + conf + `,"subject":{"digest":"latest","size":1}}`},
		"index with layers":   {oci.MediaTypeImageIndex, `{"manifests":[],"layers":[{` + zero + `}]}`},
		"index with config":   {oci.MediaTypeDockerList, `{"manifests":[],` + conf + `}`},
		"image of an index":   {oci.MediaTypeImageManifest, `{` + conf + `,"manifests":[{` + zero + `}]}`},
		"malformed type":      {"a b", `{}`},
		"HTML":                {"text/html; charset=utf-8", `{}`},
		"HTML in the content": {"application/json", `{"mediaType":"text/html"}`},
		"type with a newline": {"", `{"mediaType":"a\nb"}`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := oci.ParseManifest(tt.contentType, []byte(tt.content))
			if !errors.Is(err, oci.NewError(oci.ManifestInvalid, "")) {
				t.Errorf("got %+v, %v; want MANIFEST_INVALID", m, err)
			}
		})
	}
}

func TestManifestTypes(t *testing.T) {
	for mediaType, want := range map[string]bool{
		oci.MediaTypeImageManifest: true, oci.MediaTypeDockerSigned1: true, "application/octet-stream": true,
		"Application/vnd.x!#$&-^_.+1": true, "text/vnd.example+json": true, "model/gltf+JSON": true, "application/0": true,

		"text/html": false, "image/svg+xml": false, "text/plain": false, "*/*": false, "application/*": false, "*/x+json": false,
		"application/": false, "/x+json": false, "application": false, "+json": false, "": false, "application/a/b": false,
		"text/html;x=+json": false, "application/json;charset=utf-8": false, "application/json,text/html": false,
		"text/html, x/y+json": false, "application/a\nb": false, "application/\xff": false, "application/.x": false,
		"application/" + strings.Repeat("x", 243): true, "application/" + strings.Repeat("x", 244): false,
	} {
		if oci.IsManifestType(mediaType) != want {
			t.Errorf("%q: got %t", mediaType, !want)
		}
		if _, err := oci.ParseManifest("", []byte(fmt.Sprintf(`{"mediaType":%q,%s}`, mediaType, conf))); mediaType != oci.MediaTypeDockerSigned1 && (err == nil) != want {
			t.Errorf("%q as mediaType: %v", mediaType, err)
		}
	}
}

func TestTooLargeNamesAlternatives(t *testing.T) {
	for size, begins := range map[int64]string{-1: "the body is", 0: "a body of 0 bytes", 63_000_000: "a body of 63000000 bytes"} {
		err := oci.TooLarge(size)
		if got := (oci.Errors{err}).Status(); got != http.StatusRequestEntityTooLarge || err.Code != oci.SizeInvalid {
			t.Errorf("%d: status %d, code %s", size, got, err.Code)
		}
		for _, want := range []string{begins, "pierless push", "pierless proxy", "pierless serve", "bucket and table"} {
			if !strings.Contains(err.Message, want) {
				t.Errorf("%d: %q lacks %q", size, err.Message, want)
			}
		}
	}
}

// TestHostileLists: a list of descriptors that say nothing, each of which takes many times
// its two bytes in memory, ends with the first of them.
func TestHostileLists(t *testing.T) {
	list := "[" + strings.Repeat("{},", 100_000) + "{}]"
	for _, content := range []string{`{"layers":` + list + `}`, `{"manifests":` + list + `}`} {
		allocations := testing.AllocsPerRun(1, func() {
			if _, err := oci.ParseManifest(oci.MediaTypeImageIndex, []byte(content)); !errors.Is(err, oci.NewError(oci.ManifestInvalid, "")) {
				t.Errorf("it gives %v", err)
			}
		})
		if allocations > 1000 {
			t.Errorf("%.0f allocations", allocations)
		}
	}
}
