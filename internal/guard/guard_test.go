package guard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pierless/pierless/internal/guard"
)

func request(host string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// TestHosts: a page cannot use its own host name, and every other client is accepted, on any
// forwarded port.
func TestHosts(t *testing.T) {
	allow := []string{"Registry.example", "other.example:7"}
	loopback, remote := guard.New("127.0.0.1:5000", allow), guard.New("0.0.0.0:5000", allow)
	named := guard.New("Own.example:5000", nil)
	for _, tt := range []struct {
		host                    string
		loopback, remote, named bool
	}{
		{"127.0.0.1:5000", true, true, true},
		{"127.0.0.1", true, true, true},
		{"127.9.9.9:6000", true, true, true},
		{"[::1]:5000", true, true, true},
		{"[::1]", true, true, true},
		{"localhost:5000", true, true, true},
		{"LOCALHOST:80", true, true, true},
		{"a.localhost:5000", true, true, true},
		{"10.0.0.1:5000", true, true, true},
		{"[fd00::1]:5000", true, true, true},
		{"registry.example:5000", true, true, false},
		{"REGISTRY.example", true, true, false},
		{"other.example:7", true, true, false},
		{"other.example:8", false, false, false},
		{"other.example", false, false, false},
		{"own.example:5000", false, false, true},
		{"registry:5000", false, true, true}, // of the local network
		{"evil.example:5000", false, false, false},
		{"evil.example", false, false, false},
		{"127.0.0.1.evil.example:5000", false, false, false},
		{"localhost.evil.example:5000", false, false, false},
		{"evillocalhost:5000", false, true, true},
		{"x.registry.example:5000", false, false, false},
		{"evil.:5000", false, false, false},
		{"", false, false, false},
		{":5000", false, false, false},
		{"[]:5000", false, false, false},
	} {
		for _, g := range []struct {
			name string
			guard.Guard
			want bool
		}{{"loopback", loopback, tt.loopback}, {"remote", remote, tt.remote}, {"named", named, tt.named}} {
			if err := g.Check(request(tt.host)); (err == nil) != g.want {
				t.Errorf("%s: Host %q: %v, want allowed %v", g.name, tt.host, err, g.want)
			}
		}
	}
}

// TestPages: requests of a page are refused for every host; an address that the user types into
// the browser is accepted.
func TestPages(t *testing.T) {
	g := guard.New("127.0.0.1:5000", nil)
	for _, tt := range []struct {
		name, value string
		want        error
	}{
		{"Origin", "https://evil.example", guard.ErrPage},
		{"Origin", "http://127.0.0.1:5000", guard.ErrPage},
		{"Origin", "null", guard.ErrPage},
		{"Sec-Fetch-Site", "cross-site", guard.ErrPage},
		{"Sec-Fetch-Site", "same-site", guard.ErrPage},
		{"Sec-Fetch-Site", "anything", guard.ErrPage},
		{"Sec-Fetch-Site", "same-origin", nil},
		{"Sec-Fetch-Site", "none", nil},
		{"User-Agent", "docker/29", nil},
	} {
		if err := g.Check(request("127.0.0.1:5000", tt.name, tt.value)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %s: %v, want %v", tt.name, tt.value, err, tt.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:5000": true, "localhost:0": true, "LOCALHOST:0": true, "[::1]:1": true, "0.0.0.0:1": false, ":5000": false,
		"10.0.0.1:1": false, "x.example:1": false, "127.0.0.1": false, "127.0.0.1:x": false, "127.0.0.1:65536": false,
	} {
		if guard.Loopback(listen) != want {
			t.Errorf("Loopback(%q) is %v", listen, !want)
		}
	}
}
