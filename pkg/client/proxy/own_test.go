package proxy

import (
	"net/url"
	"testing"
)

// TestOwn: own recognizes the registry's host even if its URLs have the wrong scheme.
func TestOwn(t *testing.T) {
	upstream := &url.URL{Scheme: "https", Host: "registry.example"}
	for address, want := range map[string]bool{
		"https://registry.example/x": true, "https://REGISTRY.example:443/x": true, "http://registry.example/x": true,
		"http://registry.example:80/x": false, "https://registry.example:8443/x": false, "https://other.example/x": false,
		"http://other.example/x": false, "ftp://registry.example/x": false, "https://me@registry.example/x": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if own(upstream, u) != want {
			t.Errorf("%s is the registry's own: %v", address, !want)
		}
	}
}
