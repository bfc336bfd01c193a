//go:build localstack

package calls_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

// offer starts a direct upload in repository a.
func (r *rig) offer(content []byte, inParts bool) (u direct.Upload) {
	r.t.Helper()
	body, err := json.Marshal(direct.Offer{Digest: oci.SHA256.FromBytes(content), Size: int64(len(content)), Parts: inParts})
	if err != nil {
		r.t.Fatal(err)
	}
	r.decode(r.do("POST", "/v2/a/_pierless/uploads", body).Body.Bytes(), &u)
	return u
}

func (r *rig) decode(answer []byte, into any) {
	r.t.Helper()
	if err := json.Unmarshal(answer, into); err != nil {
		r.t.Fatal(err)
	}
}

// send is the client's own request to S3, which the registry has no part in.
func (r *rig) send(request direct.Request, content []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), request.Method, request.URL, bytes.NewReader(content))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range request.Headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("S3 answers %d", resp.StatusCode)
	}
}

// signed asks for n parts of content, each of the upload's part size.
func (r *rig) signed(u direct.Upload, content []byte, n int) (answer direct.SignedParts) {
	r.t.Helper()
	var ask direct.Parts
	for i := range n {
		size := direct.SizeOf(i+1, u.Size, u.PartSize)
		ask.Parts = append(ask.Parts, direct.Part{
			Number: i + 1, Size: size, Digest: oci.SHA256.FromBytes(content[int64(i)*u.PartSize:][:size]),
		})
	}
	body, err := json.Marshal(ask)
	if err != nil {
		r.t.Fatal(err)
	}
	r.decode(r.do("POST", "/v2/a/_pierless/parts/"+u.ID, body).Body.Bytes(), &answer)
	return answer
}

func (r *rig) sendParts(u direct.Upload, content []byte) {
	n := direct.PartCount(u.Size, u.PartSize)
	for i, p := range r.signed(u, content, n).Parts {
		first := int64(i) * u.PartSize
		r.send(p.Request, content[first:first+direct.SizeOf(i+1, u.Size, u.PartSize)])
	}
}

func (r *rig) complete(u direct.Upload) { r.do("PUT", "/v2/a/_pierless/uploads/"+u.ID, nil) }

// directOperations are the rows of direct uploads.
func directOperations() []operation {
	const large = 40 << 20 // three parts
	sent := func(exists bool) func(*rig) func() {
		return func(r *rig) func() {
			content := unique(large)
			u := r.offer(content, false)
			if exists {
				other := r.offer(content, false)
				r.send(*other.Put, content)
				r.complete(other)
			}
			r.send(*u.Put, content)
			return func() { r.complete(u) }
		}
	}
	joined := func(r *rig) (direct.Upload, []byte) {
		content := unique(large)
		u := r.offer(content, true)
		r.sendParts(u, content)
		return u, content
	}
	return []operation{
		{"direct upload: offer", calls{2, 0}, func(r *rig) func() { content := unique(9); return func() { r.offer(content, false) } }},
		{"direct upload: offer in parts", calls{2, 1}, func(r *rig) func() { content := unique(9); return func() { r.offer(content, true) } }},
		{"direct upload: offer of what is there", calls{2, 1}, func(r *rig) func() {
			content := unique(9)
			d := r.post(content)
			return func() {
				r.do("POST", "/v2/b/_pierless/uploads", fmt.Appendf(nil, `{"digest":%q,"size":9}`, d))
			}
		}},
		{"direct upload: complete", calls{2, 1}, sent(false)},
		{"direct upload: complete, digest exists", calls{3, 3}, sent(true)},
		{"direct upload: complete again", calls{2, 1}, func(r *rig) func() { again := sent(false)(r); again(); return again }},
		{"direct upload: fresh request for the bytes", calls{1, 0}, func(r *rig) func() {
			u := r.offer(unique(9), false)
			return func() { r.do("GET", "/v2/a/_pierless/uploads/"+u.ID, nil) }
		}},
		{"direct upload: sign 2 parts", calls{1, 0}, func(r *rig) func() {
			content := unique(large)
			u := r.offer(content, true)
			return func() { r.signed(u, content, 2) }
		}},
		{"direct upload: status of an upload in parts", calls{1, 1}, func(r *rig) func() {
			u, _ := joined(r)
			return func() { r.do("GET", "/v2/a/_pierless/uploads/"+u.ID, nil) }
		}},
		{"direct upload: complete 3 parts", calls{2, 2}, func(r *rig) func() {
			u, _ := joined(r)
			return func() { r.complete(u) }
		}},
		{"direct upload: verify 40 MiB", calls{2, 3}, func(r *rig) func() {
			u, _ := joined(r)
			r.complete(u)
			return func() { r.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil) }
		}},
	}
}
