package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

func TestClassify(t *testing.T) {
	for n, addresses := range map[network][]string{
		public:   {"198.51.100.7", "8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1", "100.128.0.1"},
		private:  {"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"},
		loopback: {"127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1"},
		linkLocal: {
			"169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "224.0.0.1", "ff02::1", "192.0.0.192",
			"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
		},
	} {
		for _, address := range addresses {
			if got := classify(netip.MustParseAddr(address)); got != n {
				t.Errorf("%s is %s, want %s", address, got, n)
			}
		}
	}
}

// TestMayLeadTo: a registry sends its clients nowhere nearer than it is.
func TestMayLeadTo(t *testing.T) {
	for from, want := range map[network][]network{
		public: {public}, private: {public, private}, loopback: {public, private, loopback}, linkLocal: {public, linkLocal},
	} {
		var got []network
		for _, to := range []network{public, private, loopback, linkLocal} {
			if from.mayLeadTo(to) {
				got = append(got, to)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s leads to %v, want %v", from, got, want)
		}
	}
}

// world is what names mean in a test: the registry's own name leads to a server of the
// test, which seems to be at another address; others are resolved, and dialled for real.
type world struct {
	server  *httptest.Server // of the registry
	address string           // that it seems to be at
	names   map[string]string
	dialled atomic.Int32 // connections to others
}

const registryName = "registry.example"

func (w *world) transport() *stallGuard {
	base := NewTransport().(*stallGuard)
	inner := base.next.(*http.Transport)
	inner.Proxy = nil
	inner.DisableKeepAlives = true
	others := checkedDial(&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: w.dialDNS}})
	inner.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, _ := net.SplitHostPort(address); host == registryName {
			conn, err := new(net.Dialer).DialContext(ctx, network, w.server.Listener.Addr().String())
			return &placedConn{conn, w.address}, err
		}
		conn, err := others(ctx, network, address)
		if err == nil {
			w.dialled.Add(1)
		}
		return conn, err
	}
	if w.server.TLS != nil {
		inner.TLSClientConfig = w.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		inner.TLSClientConfig.ServerName = "example.com" // that of the server's certificate
	}
	return base
}

// client is a client of the registry that does not wait.
func (w *world) client(t *testing.T, opts Options) *Repository {
	t.Helper()
	scheme := "http://"
	if w.server.TLS != nil {
		scheme = "https://"
	}
	if opts.Transport == nil {
		opts.Transport = w.transport()
	}
	opts.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	c, err := New(scheme+registryName, opts)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Repository("a")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// placedConn seems to lead to another address.
type placedConn struct {
	net.Conn
	address string
}

func (c *placedConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.address), 80))
}

// dialDNS is a name server that knows the names of the world.
func (w *world) dialDNS(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		for {
			var size uint16
			if binary.Read(there, binary.BigEndian, &size) != nil {
				return
			}
			query := make([]byte, size)
			if _, err := io.ReadFull(there, query); err != nil {
				return
			}
			answer := w.resolve(query)
			_, _ = there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		}
	}()
	return here, nil
}

// resolve answers a question for an A record (RFC 1035, 4.1).
func (w *world) resolve(query []byte) []byte {
	const header, typeA = 12, 1
	var labels []string
	end := header
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		labels = append(labels, string(query[end+1:next]))
		end = next
	}
	question := query[header : end+5]
	address, known := w.names[strings.Join(labels, ".")]
	flags, answers := []byte{0x81, 0x80}, byte(0)
	switch {
	case !known:
		flags[1] |= 3 // no such name
	case query[end+2] == typeA:
		answers = 1
	}
	out := append(query[:2:2], flags...)
	out = append(out, 0, 1, 0, answers, 0, 0, 0, 0)
	out = append(out, question...)
	if answers > 0 {
		ip := netip.MustParseAddr(address).As4()
		out = append(out, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4)
		out = append(out, ip[:]...)
	}
	return out
}

// leading is a registry that sends its clients to one place, in every way there is.
type leading struct {
	to      string
	headers map[string]string
}

const leadingID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func (l *leading) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case strings.HasPrefix(r.URL.Path, "/v2/a/_pierless/uploads") && r.Method == http.MethodPost:
		headers := map[string]string{"Content-Length": fmt.Sprint(len(leadContent()))}
		for name, value := range l.headers {
			headers[name] = value
		}
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(direct.Upload{
			ID: leadingID, State: direct.Open, Digest: oci.SHA256.FromBytes(leadContent()), Size: int64(len(leadContent())),
			Put: &direct.Request{Method: http.MethodPut, URL: l.to, Headers: headers},
		})
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
		w.Header().Set("Location", l.to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case strings.Contains(r.URL.Path, "/blobs/uploads/"):
		w.Header().Set("Location", l.to)
		w.WriteHeader(http.StatusAccepted)
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+l.to+`",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

func leadContent() []byte { return bytes.Repeat([]byte("layer"), 1<<20) }

// ways are the requests that a registry dictates.
func ways() map[string]func(context.Context, *Repository) error {
	content := leadContent()
	d := oci.SHA256.FromBytes(content)
	return map[string]func(context.Context, *Repository) error{
		"a direct upload": func(ctx context.Context, r *Repository) error {
			_, err := r.PushBlob(ctx, Blob{Digest: d, Size: int64(len(content)), Open: func(offset int64) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(content[offset:])), nil
			}})
			return err
		},
		"a redirect": func(ctx context.Context, r *Repository) error {
			_, err := r.Blob(ctx, d, -1)
			return err
		},
		"a Location": func(ctx context.Context, r *Repository) error {
			u, err := r.StartUpload(ctx, oci.SHA256)
			if err != nil {
				return err
			}
			return r.FinishUpload(ctx, u, d)
		},
		"a token service": func(ctx context.Context, r *Repository) error {
			for _, err := range r.Tags(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// victim is a service that no registry may send clients to, and the requests it had.
func victim(t *testing.T) (port string, hits *atomic.Int32) {
	t.Helper()
	hits = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port(), hits
}

// TestInternalTargets: a registry outside cannot make a client speak to this machine, by
// address or by a name that leads there; one that is on this machine can.
func TestInternalTargets(t *testing.T) {
	names := map[string]string{"inside.example": "127.0.0.1"}
	for way, use := range ways() {
		for host, at := range map[string]string{
			"127.0.0.1": "198.51.100.7", "localhost": "198.51.100.7", "inside.example": "198.51.100.7",
			"0.0.0.0": "10.0.0.5", "[::ffff:127.0.0.1]": "169.254.1.1",
		} {
			t.Run(way+" to "+host, func(t *testing.T) {
				t.Parallel() // servers wait for connections that break
				port, hits := victim(t)
				server := httptest.NewServer(&leading{to: "http://" + host + ":" + port + "/latest/api/token"})
				defer server.Close()
				w := &world{server: server, address: at, names: names}
				err := use(t.Context(), w.client(t, Options{}))
				var refused *TargetError
				if way != "a token service" && (!errors.As(err, &refused) || !refused.Internal || !strings.Contains(err.Error(), registryName)) {
					t.Errorf("%v, want a TargetError that names the registry", err)
				}
				if err == nil || hits.Load() > 0 || w.dialled.Load() > 0 {
					t.Errorf("%v, after %d connections and %d requests", err, w.dialled.Load(), hits.Load())
				}
				if way == "a token service" {
					return // its library allows internal addresses to no registry of another name
				}
				near := &world{server: server, address: "127.0.0.1", names: names}
				_ = use(t.Context(), near.client(t, Options{}))
				if hits.Load() == 0 {
					t.Error("a registry on this machine cannot send here")
				}
				hits.Store(0)
				allowed := &world{server: server, address: at, names: names}
				_ = use(t.Context(), allowed.client(t, Options{InternalHosts: []string{strings.ToUpper(strings.Trim(host, "[]"))}}))
				if hits.Load() == 0 {
					t.Error("a host that the user named is refused")
				}
			})
		}
	}
}

// TestSecondAddress: a registry whose name leads to this machine for once, before or
// after, stays outside.
func TestSecondAddress(t *testing.T) {
	for _, addresses := range [][2]string{{"198.51.100.7", "127.0.0.1"}, {"127.0.0.1", "198.51.100.7"}} {
		port, hits := victim(t)
		server := httptest.NewServer(&leading{to: "http://inside.example:" + port})
		defer server.Close()
		w := &world{server: server, address: addresses[0], names: map[string]string{"inside.example": "127.0.0.1"}}
		r := w.client(t, Options{})
		_, _ = r.BlobSize(t.Context(), oci.SHA256.FromBytes(nil))
		hits.Store(0) // the first address may have led there
		w.address = addresses[1]
		if err := ways()["a direct upload"](t.Context(), r); err == nil || hits.Load() > 0 {
			t.Errorf("%v: %v after %d requests", addresses, err, hits.Load())
		}
	}
}

// TestUnseenRegistry: before an address of the registry was seen, as behind a proxy, what
// its URL says counts.
func TestUnseenRegistry(t *testing.T) {
	for registry, want := range map[string]bool{"10.0.0.5": true, "localhost": true, "registry.example": false, "198.51.100.7": false} {
		g := newTargetGuard(nil, url.URL{Scheme: "http", Host: registry}, nil)
		if err := g.check(&http.Request{URL: &url.URL{Scheme: "http", Host: "10.0.0.6"}}); (err == nil) != want {
			t.Errorf("%s: %v", registry, err)
		}
	}
}

// TestSchemeOfTargets: a registry over https leads nowhere over http.
func TestSchemeOfTargets(t *testing.T) {
	for way, use := range ways() {
		t.Run(way, func(t *testing.T) {
			port, hits := victim(t)
			server := httptest.NewTLSServer(&leading{to: "http://inside.example:" + port})
			defer server.Close()
			w := &world{server: server, address: "127.0.0.1", names: map[string]string{"inside.example": "127.0.0.1"}}
			err := use(t.Context(), w.client(t, Options{InternalHosts: []string{"inside.example"}}))
			var refused *TargetError
			if way != "a token service" && !errors.As(err, &refused) || err == nil || hits.Load() > 0 {
				t.Errorf("%v after %d requests", err, hits.Load())
			}
		})
	}
}

// TestTargetsBehindProxy: an HTTP proxy may be anywhere, and resolves names by itself.
// Addresses in URLs are checked all the same.
func TestTargetsBehindProxy(t *testing.T) {
	var asked atomic.Int32
	lead := &leading{to: "http://store.example/layer"}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == registryName {
			lead.ServeHTTP(w, r)
			return
		}
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]bool{"http://store.example/layer": true, "http://169.254.169.254/latest": false, "http://127.0.0.1:1/": false} {
		asked.Store(0)
		lead.to = to
		w := &world{server: proxy}
		transport := w.transport()
		transport.next.(*http.Transport).Proxy = http.ProxyURL(at)
		err := ways()["a direct upload"](t.Context(), w.client(t, Options{Transport: transport}))
		if (err == nil) != want || (asked.Load() > 0) != want {
			t.Errorf("%s: %v after %d requests", to, err, asked.Load())
		}
	}
}

// TestDictatedHeaders: a client sends a store no header that a store does not need.
func TestDictatedHeaders(t *testing.T) {
	for name, want := range map[string]bool{
		"content-type": true, "Content-MD5": true, "Host": true, "If-None-Match": true,
		"X-Amz-Checksum-Sha256": true, "x-amz-sdk-checksum-algorithm": true, "x-amz-content-sha256": true,
		"x-amz-server-side-encryption": true, "x-amz-server-side-encryption-aws-kms-key-id": true,
		"X-aws-ec2-metadata-token-ttl-seconds": false, "Metadata-Flavor": false, "X-Forwarded-For": false,
		"Cookie": false, "Proxy-Authorization": false, "Authorization": false, "Referer": false,
		"x-amz-acl": false, "x-amz-copy-source": false, "Expect": false, "Transfer-Encoding": false,
	} {
		t.Run(name, func(t *testing.T) {
			port, hits := victim(t)
			server := httptest.NewServer(&leading{to: "http://127.0.0.1:" + port, headers: map[string]string{name: "v"}})
			defer server.Close()
			w := &world{server: server, address: "127.0.0.1"}
			err := ways()["a direct upload"](t.Context(), w.client(t, Options{Attempts: 1}))
			if got := hits.Load() > 0; got != want {
				t.Errorf("sent: %t, want %t: %v", got, want, err)
			}
		})
	}
}
