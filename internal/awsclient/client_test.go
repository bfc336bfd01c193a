package awsclient

import "testing"

func TestPathStyle(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		set      *bool
		endpoint string
		want     bool
	}{
		{nil, "", false},
		{nil, "http://127.0.0.1:4566", true},
		{nil, "http://[::1]:4566", true},
		{nil, "http://localhost:4566", true},
		{nil, "http://LOCALHOST", true},
		{nil, "http://s3.localhost.localstack.cloud:4566", false},
		{nil, "https://s3.eu-central-1.amazonaws.com", false},
		{nil, "://", false},
		{&yes, "https://s3.example.org", true},
		{&no, "http://127.0.0.1:4566", false},
	} {
		if got := pathStyle(test.set, test.endpoint); got != test.want {
			t.Errorf("%s: path style is %v", test.endpoint, got)
		}
	}
}
