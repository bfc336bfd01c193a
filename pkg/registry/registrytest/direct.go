package registrytest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// Clock is implemented by a store with Direct, so that its contract need not wait for
// requests to expire.
type Clock interface {
	// At returns the same store, signing with another clock.
	At(now func() time.Time) registry.Blobs
}

// small is the size of bodies that will be refused, in bytes. A server may refuse without
// reading the body and then close the connection; a client that is still sending a larger
// body does not always see the answer.
const small = 1000

// errNotChecked is for calls that must fail before they ask.
var errNotChecked = errors.New("nobody should have asked")

func noCheck([]direct.Part) error { return errNotChecked }

// direct skips the test if the store has no direct uploads, which testDirectNone checks.
func (u upload) direct() {
	u.t.Helper()
	_, err := u.PresignPut(u.t.Context(), u.key, oci.SHA256.FromBytes(nil), 0)
	if errors.Is(err, registry.ErrNoDirect) {
		u.t.Skip("the store has no direct uploads")
	}
	if err != nil {
		u.t.Fatal(err)
	}
}

// past returns the same upload to a store whose clock is late by more than any
// request is good for, and by so little that nothing else is wrong with it.
func (u upload) past() upload {
	u.t.Helper()
	store, ok := u.Blobs.(Clock)
	if !ok {
		u.t.Fatalf("%T has direct uploads, but no clock to set", u.Blobs)
	}
	u.Blobs = store.At(func() time.Time { return time.Now().Add(-20 * time.Minute) })
	return u
}

// signPut signs a PUT of content, and checks the promises of the port for the request.
func (u upload) signPut(content []byte) direct.Request {
	u.t.Helper()
	r, err := u.PresignPut(u.t.Context(), u.key, oci.SHA256.FromBytes(content), int64(len(content)))
	if err != nil {
		u.t.Fatalf("presign: %v", err)
	}
	u.wellFormed(r, len(content))
	return r
}

// signPart signs a part, and checks the promises of the port for the request.
func (u upload) signPart(stored registry.Stored, number int, content []byte) direct.Request {
	u.t.Helper()
	r, err := u.PresignPart(u.t.Context(), u.key, stored, part(number, content))
	if err != nil {
		u.t.Fatalf("presign part %d: %v", number, err)
	}
	u.wellFormed(r, len(content))
	return r
}

func part(number int, content []byte) direct.Part {
	return direct.Part{Number: number, Size: int64(len(content)), Digest: oci.SHA256.FromBytes(content)}
}

func (u upload) wellFormed(r direct.Request, size int) {
	u.t.Helper()
	if r.Headers["Content-Length"] != strconv.Itoa(size) {
		u.t.Errorf("Content-Length is %q, want %d", r.Headers["Content-Length"], size)
	}
	for _, name := range []string{"Host", "Authorization"} {
		if _, ok := r.Headers[name]; ok {
			u.t.Errorf("the header %s belongs to the connection", name)
		}
	}
	if left := time.Until(r.Expires); left > 15*time.Minute {
		u.t.Errorf("the request is good for %s", left)
	}
}

// send makes a request as a client does, with a body whose length may differ from the
// signed one. The answer's status is 0 if the body does not have the length in the header,
// so that the connection breaks off.
func (u upload) send(r direct.Request, body []byte) (status int, answer string) {
	u.t.Helper()
	var content io.Reader = http.NoBody
	if len(body) > 0 {
		content = bytes.NewReader(body) // a small one goes along with the headers
	}
	req, err := http.NewRequestWithContext(u.t.Context(), r.Method, r.URL, content)
	if err != nil {
		u.t.Fatal(err)
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	req.ContentLength = -1
	if length, ok := r.Headers["Content-Length"]; ok {
		if req.ContentLength, err = strconv.ParseInt(length, 10, 64); err != nil {
			u.t.Fatal(err)
		}
	}
	cut := req.ContentLength > int64(len(body))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if !cut {
			u.t.Fatalf("%s: %v", r.Method, err)
		}
		return 0, ""
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		u.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// stores fails unless the request is answered with 200.
func (u upload) stores(r direct.Request, body []byte) {
	u.t.Helper()
	if status, answer := u.send(r, body); status != http.StatusOK {
		u.t.Fatalf("%s of %d bytes: %d %s", r.Method, len(body), status, answer)
	}
}

// refuses fails unless the request is answered with this status.
func (u upload) refuses(r direct.Request, body []byte, want int) {
	u.t.Helper()
	if status, answer := u.send(r, body); status != want {
		u.t.Errorf("%s of %d bytes: %d %s, want %d", r.Method, len(body), status, answer, want)
	}
}

// stat fails unless the key has content of this size, whose digest the store knows
// to be that of content, or does not know.
func (u upload) stat(content []byte, known bool) {
	u.t.Helper()
	size, d, err := u.Stat(u.t.Context(), u.key, true)
	if err != nil || size != int64(len(content)) {
		u.t.Errorf("stat: %d bytes, %v, want %d", size, err, len(content))
	}
	if want := oci.SHA256.FromBytes(content); d != want && (d != "" || known) {
		u.t.Errorf("stat: digest %q, want %q", d, want)
	}
}

// testDirectNone checks that a store supports either all of Direct or none of it.
func testDirectNone(u upload) {
	_, want := u.PresignPut(u.t.Context(), u.key, oci.SHA256.FromBytes(nil), 0)
	if !errors.Is(want, registry.ErrNoDirect) {
		u.t.Skip("the store has direct uploads")
	}
	for name, call := range map[string]func(context.Context) error{
		"StartParts":    func(ctx context.Context) error { _, err := u.StartParts(ctx, u.key); return err },
		"CompleteParts": func(ctx context.Context) error { return u.CompleteParts(ctx, u.key, registry.Stored{}, noCheck) },
		"PresignPart": func(ctx context.Context) error {
			_, err := u.PresignPart(ctx, u.key, registry.Stored{}, part(1, nil))
			return err
		},
		"ListParts": func(ctx context.Context) error { _, err := u.ListParts(ctx, u.key, registry.Stored{}); return err },
	} {
		if err := call(u.t.Context()); !errors.Is(err, registry.ErrNoDirect) {
			u.t.Errorf("%s: %v, want ErrNoDirect", name, err)
		}
	}
}

// testStat asks for content that came through the registry.
func testStat(u upload) {
	if _, _, err := u.Stat(u.t.Context(), u.key, true); !errors.Is(err, registry.ErrNoContent) {
		u.t.Errorf("stat of nothing: %v, want ErrNoContent", err)
	}
	content := random(1000)
	if err := u.Put(u.t.Context(), u.key, content); err != nil {
		u.t.Fatal(err)
	}
	u.stat(content, false)
	for _, size := range []int{0, 10, 6 * mib} {
		u, content := u.another(), random(size)
		u.complete(u.append(registry.Stored{}, content), content)
		u.stat(content, false)
	}
}
