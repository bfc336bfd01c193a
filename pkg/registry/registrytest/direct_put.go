package registrytest

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// testDirectPut stores content past the registry, once.
func testDirectPut(u upload) {
	u.direct()
	for _, size := range []int{0, 1, small, 6 * mib} {
		u, content := u.another(), random(size)
		request := u.signPut(content)
		u.empty()
		if size > 0 {
			wrong := bytes.Clone(content)
			wrong[size/2] ^= 1
			u.refuses(request, wrong, http.StatusBadRequest)
			u.empty()
		}
		u.stores(request, content)
		u.holds(content)
		u.stat(content, true)
		u.restarted().holds(content)

		if size <= small {
			u.refuses(request, content, http.StatusPreconditionFailed)
			u.refuses(u.signPut(content), content, http.StatusPreconditionFailed)
		}
		other := random(small)
		u.refuses(u.signPut(other), other, http.StatusPreconditionFailed)
		u.holds(content)
	}
}

// testDirectPutRace has one request made many times at once.
func testDirectPutRace(u upload) {
	u.direct()
	content := random(small)
	request := u.signPut(content)
	var won atomic.Int64
	together(8, func(int) {
		switch status, answer := u.send(request, content); status {
		case http.StatusOK:
			won.Add(1)
		case http.StatusPreconditionFailed, http.StatusConflict: // S3 says 409 while another one is under way
		default:
			u.t.Errorf("%d %s", status, answer)
		}
	})
	if won.Load() != 1 {
		u.t.Errorf("%d have won", won.Load())
	}
	u.holds(content)
}

// testDirectPutTaken has content come first in another way.
func testDirectPutTaken(u upload) {
	u.direct()
	content := random(small)
	request := u.signPut(content)
	if err := u.Put(u.t.Context(), u.key, []byte("put")); err != nil {
		u.t.Fatal(err)
	}
	u.refuses(request, content, http.StatusPreconditionFailed)
	u.holds([]byte("put"))
	u.stat([]byte("put"), false)
}

// misuse is a wrong way to use a request.
type misuse struct {
	name   string
	change func(r *direct.Request, body *[]byte)
	status int // that is promised; 0 where any refusal will do
}

// misuses are those of any request that is good for content; other is a request of
// the same kind for other content, another key of the same length.
func misuses(r, other direct.Request, otherContent []byte, key, otherKey string) []misuse {
	const forbidden = http.StatusForbidden
	all := []misuse{
		{"another byte", func(_ *direct.Request, body *[]byte) { (*body)[len(*body)/2] ^= 1 }, http.StatusBadRequest},
		{"other bytes", func(_ *direct.Request, body *[]byte) { *body = random(len(*body)) }, http.StatusBadRequest},
		{"the connection breaks", func(_ *direct.Request, body *[]byte) { *body = (*body)[:len(*body)/2] }, 0},
		{"shorter", func(r *direct.Request, body *[]byte) { *body = (*body)[1:]; setLength(r, *body) }, forbidden},
		{"longer", func(r *direct.Request, body *[]byte) { *body = append(*body, 0); setLength(r, *body) }, forbidden},
		{"empty", func(r *direct.Request, body *[]byte) { *body = nil; setLength(r, *body) }, forbidden},
		{"other content", func(r *direct.Request, body *[]byte) { *body = otherContent; r.Headers = other.Headers }, forbidden},
		{"another key", func(r *direct.Request, _ *[]byte) { r.URL = strings.Replace(r.URL, key, otherKey, 1) }, forbidden},
		{"a longer life", func(r *direct.Request, _ *[]byte) {
			r.URL = strings.Replace(r.URL, "X-Amz-Expires=", "X-Amz-Expires=1", 1)
		}, 0},
		{"another signature", func(r *direct.Request, _ *[]byte) {
			before, after, _ := strings.Cut(r.URL, "X-Amz-Signature=")
			r.URL = before + "X-Amz-Signature=" + strings.Repeat("0", len(after))
		}, forbidden},
		{"access for all", func(r *direct.Request, _ *[]byte) { r.Headers["X-Amz-Acl"] = "public-read" }, forbidden},
		{"a copy", func(r *direct.Request, _ *[]byte) { r.Headers["X-Amz-Copy-Source"] = "bucket/key" }, forbidden},
		{"metadata", func(r *direct.Request, _ *[]byte) { r.Headers["X-Amz-Meta-Name"] = "value" }, forbidden},
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPost} {
		all = append(all, misuse{"with " + method, func(r *direct.Request, _ *[]byte) { r.Method = method }, 0})
	}
	for name, value := range r.Headers {
		all = append(all, misuse{"without " + name, func(r *direct.Request, _ *[]byte) { delete(r.Headers, name) }, 0})
		if name != "Content-Length" {
			all = append(all, misuse{"with another " + name, func(r *direct.Request, _ *[]byte) {
				r.Headers[name] = strings.Repeat("x", len(value))
			}, forbidden})
		}
	}
	return all
}

func setLength(r *direct.Request, body []byte) { r.Headers["Content-Length"] = strconv.Itoa(len(body)) }

// misused derives wrong requests from a right one: all are refused.
func (u upload) misused(right direct.Request, content []byte, wrong []misuse) {
	u.t.Helper()
	for _, m := range wrong {
		r, body := right, bytes.Clone(content)
		r.Headers = maps.Clone(right.Headers)
		m.change(&r, &body)
		status, answer := u.send(r, body)
		if status != 0 && (status < 400 || status >= 600) || m.status != 0 && status != m.status {
			u.t.Errorf("%s: %d %s, want %d", m.name, status, answer, m.status)
		}
	}
}

// testDirectPutMisused has nothing but the right request store anything.
func testDirectPutMisused(u upload) {
	u.direct()
	content, otherContent, other := random(small), random(small), u.another()
	right := u.signPut(content)
	all := append(misuses(right, other.signPut(otherContent), otherContent, u.key, other.key),
		misuse{"a part", func(r *direct.Request, _ *[]byte) { r.URL += "&partNumber=7&uploadId=7" }, 0})
	for _, m := range all {
		u.misused(right, content, []misuse{m})
		u.empty()
		other.empty()
	}
	u.refuses(u.past().signPut(content), content, http.StatusForbidden)
	u.empty()
	u.stores(right, content) // it was good all the time
	for _, m := range all {
		u.misused(right, content, []misuse{{m.name, m.change, 0}})
		u.holds(content)
	}
}

// testDirectPutEncoded sends an unsigned header that makes readers decode the bytes: it is
// refused, ignored, or detected.
func testDirectPutEncoded(u upload) {
	u.direct()
	content := random(small)
	request := u.signPut(content)
	request.Headers["Content-Encoding"] = "gzip"
	if status, _ := u.send(request, content); status != http.StatusOK {
		u.empty()
		return
	}
	_, _, err := u.Stat(u.t.Context(), u.key, true)
	if errors.Is(err, registry.ErrEncoded) {
		return
	}
	if err != nil {
		u.t.Fatal(err)
	}
	u.holds(content)
	url, err := u.Presign(u.t.Context(), http.MethodHead, u.key)
	if err != nil || url == "" {
		return // it is not read past the registry
	}
	_, header := u.head(url)
	if encoding := header.Get("Content-Encoding"); encoding != "" {
		u.t.Errorf("it is handed out with the Content-Encoding %q", encoding)
	}
}

// testDirectPutHeaders sends unsigned headers that stores keep: readers of the content do
// not get them.
func testDirectPutHeaders(u upload) {
	u.direct()
	content := random(small)
	request := u.signPut(content)
	const smuggled = "text/html; smuggled=1"
	maps.Copy(request.Headers, map[string]string{
		"Content-Type": smuggled, "Content-Disposition": `inline; filename="smuggled"`, "Cache-Control": "public, max-age=1, smuggled",
		"Expires": "Fri, 01 Jan 2100 00:00:00 GMT",
	})
	if status, _ := u.send(request, content); status != http.StatusOK {
		u.empty()
		return
	}
	// Not by HEAD, which has no body: LocalStack does not know what its URL signs of this.
	url, err := u.Presign(u.t.Context(), http.MethodGet, u.key)
	if err != nil || url == "" {
		u.t.Fatalf("%q, %v", url, err)
	}
	res, _, err := fetch(u, http.MethodGet, url, "")
	if err != nil {
		u.t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); got != "application/octet-stream" {
		u.t.Errorf("Content-Type %q", got)
	}
	if got := res.Header.Get("Content-Disposition"); got != "attachment" {
		u.t.Errorf("Content-Disposition %q", got)
	}
	got := res.Header.Get("Cache-Control") // a max-age overrides Expires (RFC 9111, section 5.3)
	if !strings.Contains(got, "private") || !strings.Contains(got, "max-age=") || strings.Contains(got, "smuggled") {
		u.t.Errorf("Cache-Control %q", got)
	}
}

// head makes a HEAD request, as a redirected client does.
func (u upload) head(url string) (status int, header http.Header) {
	u.t.Helper()
	req, err := http.NewRequestWithContext(u.t.Context(), http.MethodHead, url, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		u.t.Fatal(err)
	}
	return res.StatusCode, res.Header
}
