package proof

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// noTransport fails the test if a request is sent.
type noTransport struct{ t *testing.T }

func (n noTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a request to %s was sent", r.URL)
	return nil, http.ErrNotSupported
}

func TestOnlyHTTPS(t *testing.T) {
	for _, url := range []string{"http://issuer.example/", "ftp://issuer.example/", "//issuer.example/"} {
		if resp, err := (bounded{noTransport{t}}).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)); err == nil {
			resp.Body.Close()
			t.Errorf("%s: no error", url)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	for address, want := range map[string][2]bool{ // without and with private issuers
		"140.82.112.3:443": {true, true}, "[2606:50c0:8000::153]:443": {true, true},
		"127.0.0.1:443": {false, true}, "[::1]:443": {false, true}, "[::ffff:127.0.0.1]:443": {false, true},
		"10.1.2.3:443": {false, true}, "172.16.0.1:443": {false, true}, "192.168.1.1:443": {false, true}, "[fd00::1]:443": {false, true},
		"169.254.169.254:443": {}, "[fe80::1]:443": {}, "[::ffff:169.254.169.254]:443": {}, "[fe80::1%eth0]:443": {},
		"0.0.0.0:443": {}, "[::]:443": {}, "0.1.2.3:443": {}, "224.0.0.1:443": {}, "[ff02::1]:443": {}, "255.255.255.255:443": {},
		"100.64.0.1:443": {}, "198.18.0.1:443": {}, "[64:ff9b::a00:1]:443": {}, "[2002:a00:1::]:443": {}, "240.0.0.1:443": {},
		"": {}, "issuer.example:443": {},
	} {
		for i, private := range []bool{false, true} {
			if err := checkAddress(address, private); (err == nil) != want[i] {
				t.Errorf("%s with private issuers %v: %v, want allowed %v", address, private, err, want[i])
			}
		}
	}
}
