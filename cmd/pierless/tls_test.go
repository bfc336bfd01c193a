package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
)

// newPair returns a certificate for 127.0.0.1 and its key as PEM.
func newPair(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// link points a symlink to another target in one step.
func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestCertificate: a new pair is used after certificateFresh at most, and no fault of the files
// ends the old one.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		pairs := map[int64][2]string{}
		for serial := int64(1); serial <= 4; serial++ {
			cert, key := newPair(t, serial)
			pairs[serial] = [2]string{cert, key}
		}
		write(t, certFile, pairs[1][0])
		write(t, keyFile, pairs[1][1])
		var out output
		config, err := newTLS(env.Config{TLSCert: certFile, TLSKey: keyFile}, setup.Log(&out, "text"))
		if err != nil {
			t.Fatal(err)
		}
		want := func(serial int64, logged, replaced int) {
			t.Helper()
			got, err := config.GetCertificate(nil)
			if err != nil || got.Leaf.SerialNumber.Int64() != serial {
				t.Errorf("the certificate is %+v, %v, want the serial %d", got, err, serial)
			}
			log := out.String()
			if strings.Count(log, "cannot be used") != logged || strings.Count(log, "was replaced") != replaced {
				t.Errorf("want %d faults and %d replacements: %s", logged, replaced, log)
			}
			if strings.Contains(log, "PRIVATE") {
				t.Errorf("the log shows the key: %s", log)
			}
		}
		wait := func() { time.Sleep(certificateFresh) }
		want(1, 0, 0)
		write(t, certFile, pairs[2][0])
		want(1, 0, 0) // the files are not read again yet
		wait()
		want(1, 1, 0) // the certificate without its key
		wait()
		want(1, 1, 0) // logged once
		write(t, keyFile, pairs[2][1])
		wait()
		want(2, 1, 1)
		write(t, keyFile, pairs[2][1][:40])
		wait()
		want(2, 2, 1) // half a file
		if err := os.Remove(keyFile); err != nil {
			t.Fatal(err)
		}
		wait()
		want(2, 3, 1)
		write(t, keyFile, pairs[2][1])
		wait()
		want(2, 3, 1) // the old pair is back
		write(t, certFile, "junk")
		wait()
		want(2, 4, 1)

		// Kubernetes replaces a secret by a symlink to the directory of its files, all with one time.
		for _, serial := range []int64{3, 4} {
			version := filepath.Join(dir, fmt.Sprint("version", serial))
			if err := os.Mkdir(version, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(version, "tls.crt"), pairs[serial][0])
			write(t, filepath.Join(version, "tls.key"), pairs[serial][1])
		}
		link(t, "version3", filepath.Join(dir, "..data"))
		link(t, filepath.Join("..data", "tls.crt"), certFile)
		link(t, filepath.Join("..data", "tls.key"), keyFile)
		wait()
		want(3, 4, 2)
		link(t, "version4", filepath.Join(dir, "..data"))
		wait()
		want(4, 4, 3)
	})
}

func TestNoCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := newPair(t, 1)
	_, other := newPair(t, 2)
	for name, content := range map[string]string{"cert": cert, "key": key, "other": other, "junk": "junk"} {
		write(t, filepath.Join(dir, name), content)
	}
	for _, files := range [][2]string{{"cert", "other"}, {"cert", "junk"}, {"junk", "key"}, {"key", "cert"}, {"cert", "none"}, {"none", "key"}} {
		args := []string{
			"serve", "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"),
			"--tls-cert", filepath.Join(dir, files[0]), "--tls-key", filepath.Join(dir, files[1]),
		}
		_, wait := startEnded(t, args...)
		if err := wait(); err == nil || !strings.Contains(err.Error(), "PIERLESS_TLS_CERT") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: %v, want an error that names variable and file", files, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("the store was created")
	}
}

// TestServeTLS: HTTPS with HTTP/2, and a certificate that is replaced while clients connect.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := newPair(t, 1)
	write(t, certFile, cert)
	write(t, keyFile, key)
	token, sum := access.NewToken()
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"),
		"--admin-token-sha256", sum, "--anonymous-pull", "--tls-cert", certFile, "--tls-key", keyFile)
	host := address(t, out)
	if !strings.Contains(out.String(), "url=https://"+host) {
		t.Errorf("the ready line does not show https: %s", out)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	send := func(method, path, password string, body io.Reader) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+host+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			r.SetBasicAuth("x", password)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.ProtoMajor != 2 {
			t.Errorf("%s %s: %s, want HTTP/2", method, path, resp.Proto)
		}
		return resp
	}
	if got := send("GET", "/v2/", "", nil).Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="https://`+host+"/") {
		t.Errorf("the challenge is %q, want one with https", got)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // larger than the windows of HTTP/2
	digest := string(oci.SHA256.FromBytes(content))
	if resp := send("POST", "/v2/a/blobs/uploads/?digest="+digest, token, bytes.NewReader(content)); resp.StatusCode != http.StatusCreated {
		t.Errorf("push: %s", resp.Status)
	}
	got, err := io.ReadAll(send("GET", "/v2/a/blobs/"+digest, "", nil).Body)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("pull: %d bytes, %v", len(got), err)
	}
	if conn, err := tls.Dial("tcp", host, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	resp, err := http.Get("http://" + host + "/v2/")
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}

	cert, key = newPair(t, 2)
	write(t, keyFile, key)
	roots.AppendCertsFromPEM([]byte(cert))
	for i := 0; ; i++ {
		conn, err := tls.Dial("tcp", host, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatalf("a handshake while the files change: %v", err)
		}
		serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		conn.Close()
		if i == 3 {
			write(t, certFile, cert)
		}
		if serial == 2 {
			break
		}
		if i > 1000 {
			t.Fatalf("the old certificate is still used: %s", out)
		}
		time.Sleep(certificateFresh / 20)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
