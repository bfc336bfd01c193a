package env_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/env"
)

func load(t *testing.T, vars map[string]string) (env.Config, error) {
	t.Helper()
	c, err := env.Load(func(name string) string { return vars[name] })
	if err != nil {
		return c, err
	}
	return c, c.Check()
}

func TestDefaults(t *testing.T) {
	c, err := load(t, nil)
	want := env.Config{Listen: "127.0.0.1:5000", Data: "./pierless-data", Log: "text", RequestLog: true, Grace: 24 * time.Hour, SweepInterval: time.Hour}
	if err != nil || !reflect.DeepEqual(c, want) || c.OnAWS() {
		t.Errorf("got %+v, %v; want %+v, embedded", c, err, want)
	}
}

func TestRefused(t *testing.T) {
	for _, vars := range []map[string]string{
		{"PIERLESS_BUCKET": "b"},
		{"PIERLESS_TABLE": "t"},
		{"PIERLESS_LOG": "xml"},
		{"PIERLESS_SSE": "rot13"},
		{"PIERLESS_NO_REDIRECT": "perhaps"},
		{"PIERLESS_ANONYMOUS_PULL": "perhaps"},
		{"PIERLESS_ANONYMOUS_PULL": "true"},
		{"PIERLESS_REDIRECT_HEAD": "perhaps"},
		{"PIERLESS_REQUEST_LOG": "perhaps"},
		{"PIERLESS_DUAL_STACK": "perhaps"},
		{"PIERLESS_BEHIND_TLS_PROXY": "perhaps"},
		{"PIERLESS_INSECURE_LISTEN": "perhaps"},
		{"PIERLESS_TLS_CERT": "tls.crt"},
		{"PIERLESS_TLS_KEY": "tls.key"},
		{"PIERLESS_PRIVATE_ISSUERS": "perhaps"},
		{"PIERLESS_ALLOW_HOST": "a.example,,b.example"},
		{"PIERLESS_ALLOW_HOST": "http://a.example"},
		{"PIERLESS_ALLOW_HOST": "*"},
		{"PIERLESS_PUBLIC_HOST": "https://a.example"},
		{"PIERLESS_PUBLIC_HOST": "a.example/v2"},
		{"PIERLESS_PUBLIC_HOST": "user@a.example"},
		{"PIERLESS_PUBLIC_HOST": "a.example?x"},
		{"PIERLESS_PUBLIC_HOST": "a.example:"},
		{"PIERLESS_PUBLIC_HOST": ":5000"},
		{"PIERLESS_PUBLIC_HOST": "a.example:port"},
		{"PIERLESS_PUBLIC_HOST": "A.example"},
		{"PIERLESS_PUBLIC_HOST": "a.example,b.example"},
		{"PIERLESS_PUBLIC_HOST": "a example"},
		{"PIERLESS_PUBLIC_HOST": "*.example"},
		{"PIERLESS_GRACE": "24"},
		{"PIERLESS_GRACE": "a day"},
		{"PIERLESS_GRACE": "0s"},
		{"PIERLESS_GRACE": "-24h"},
		{"PIERLESS_GRACE": "999ms"},
		{"PIERLESS_SWEEP_INTERVAL": "hourly"},
		{"PIERLESS_SWEEP_INTERVAL": "0s"},
		{"PIERLESS_SWEEP_INTERVAL": "1ms"},
	} {
		if c, err := load(t, vars); err == nil {
			t.Errorf("%v was accepted: %+v", vars, c)
		}
	}
}

func TestAWS(t *testing.T) {
	c, err := load(t, map[string]string{"PIERLESS_BUCKET": "b", "PIERLESS_TABLE": "t", "PIERLESS_NO_REDIRECT": "true", "PIERLESS_SSE": "aws:kms"})
	if err != nil || !c.OnAWS() || !c.ServeBlobs {
		t.Errorf("got %+v, %v; want AWS with served blobs", c, err)
	}
}

func TestAllowHosts(t *testing.T) {
	c, err := load(t, map[string]string{"PIERLESS_ALLOW_HOST": "a.example,b.example:5000", "PIERLESS_REQUEST_LOG": "false"})
	if want := []string{"a.example", "b.example:5000"}; err != nil || !reflect.DeepEqual(c.AllowHosts, want) || c.RequestLog {
		t.Errorf("got %+v, %v; want hosts %q and no log", c, err, want)
	}
}

func TestSweeps(t *testing.T) {
	c, err := load(t, map[string]string{"PIERLESS_GRACE": "90m", "PIERLESS_SWEEP_INTERVAL": "1s"})
	if err != nil || c.Grace != 90*time.Minute || c.SweepInterval != time.Second {
		t.Errorf("got %v and %v, %v; want 90m and 1s", c.Grace, c.SweepInterval, err)
	}
}

func TestListening(t *testing.T) {
	c, err := load(t, map[string]string{
		"PIERLESS_TLS_CERT": "tls.crt", "PIERLESS_TLS_KEY": "tls.key", "PIERLESS_BEHIND_TLS_PROXY": "true", "PIERLESS_INSECURE_LISTEN": "1",
	})
	if err != nil || c.TLSCert != "tls.crt" || c.TLSKey != "tls.key" || !c.BehindTLSProxy || !c.InsecureListen {
		t.Errorf("got %+v, %v; want TLS behind a proxy", c, err)
	}
}

func TestPublicHost(t *testing.T) {
	for _, host := range []string{"a.example", "a.example:5000", "127.0.0.1:5000", "[::1]:5000"} {
		if c, err := load(t, map[string]string{"PIERLESS_PUBLIC_HOST": host}); err != nil || c.PublicHost != host {
			t.Errorf("got %q, %v; want %q", c.PublicHost, err, host)
		}
	}
}
