// Package prooftest holds the issuers of identities that tests need: an OIDC issuer and AWS STS, on
// loopback. Both are strict: the STS recomputes the signature of each request.
//
// It must not know how the registry verifies proofs.
package prooftest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Internet serves hosts of any names over TLS at one loopback address.
type Internet struct {
	Requests atomic.Int64 // to any host, also to one that is not there

	t      *testing.T
	server *httptest.Server
	roots  *x509.CertPool
	ca     []byte

	mu    sync.Mutex
	hosts map[string]http.Handler
}

// NewInternet starts the server, which ends with the test.
func NewInternet(t *testing.T) *Internet {
	t.Helper()
	n := &Internet{t: t, hosts: map[string]http.Handler{}, roots: x509.NewCertPool()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n.server = httptest.NewUnstartedServer(n)
	n.server.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		der, err := certificate(key, hello.ServerName)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}}
	n.server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up
	n.server.StartTLS()
	t.Cleanup(n.server.Close)
	der, err := certificate(key, "")
	if err != nil {
		t.Fatal(err)
	}
	n.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	n.roots.AppendCertsFromPEM(n.ca)
	return n
}

// certificate returns a self-signed certificate of a host and of the loopback address. All have
// one key and subject, so that each of them is the issuer of the others.
func certificate(key *ecdsa.PrivateKey, host string) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "prooftest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	if host != "" {
		template.DNSNames = append(template.DNSNames, host)
	}
	return x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
}

// Handle serves a host, with a port unless it is 443.
func (n *Internet) Handle(host string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = h
}

// ServeHTTP implements http.Handler.
func (n *Internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.Requests.Add(1)
	n.mu.Lock()
	h, found := n.hosts[r.Host]
	n.mu.Unlock()
	if !found {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

// Address returns the address, host:port. It is a host that Handle can serve, and that processes
// reach which have the file of CAFile in SSL_CERT_FILE.
func (n *Internet) Address() string { return n.server.Listener.Addr().String() }

// Transport reaches every host.
func (n *Internet) Transport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, n.Address())
		},
		TLSClientConfig: &tls.Config{RootCAs: n.roots}, DisableKeepAlives: true,
	}
}

// CAFile returns a file with the certificate that the server's ones are issued by.
func (n *Internet) CAFile() string {
	n.t.Helper()
	path := filepath.Join(n.t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, n.ca, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}
