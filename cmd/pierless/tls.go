package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pierless/pierless/internal/env"
)

// certificateFresh is the time for which a process relies on the files of its certificate.
const certificateFresh = 2 * time.Second

// certificate is the certificate of a server. It is replaced when its files change.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.Mutex
	read      time.Time // when the files were last read
	cert, key []byte    // content of the files with current
	current   *tls.Certificate
	fault     string // of the files, if they are not used
}

// newTLS returns the configuration of a server with HTTP/2 and HTTP/1.1, or nil without a
// certificate.
func newTLS(c env.Config, log *slog.Logger) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	k := &certificate{certFile: c.TLSCert, keyFile: c.TLSKey, log: log, read: time.Now()}
	if err := k.load(); err != nil {
		return nil, fmt.Errorf("PIERLESS_TLS_CERT and PIERLESS_TLS_KEY: %w", err)
	}
	return &tls.Config{GetCertificate: k.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// get implements tls.Config.GetCertificate. The old certificate stays in use while the files
// cannot be read or do not match, as between the replacements of the two.
func (k *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.read) < certificateFresh {
		return k.current, nil
	}
	k.read = time.Now()
	before, fault := k.current, ""
	if err := k.load(); err != nil {
		fault = err.Error()
	}
	switch {
	case fault != "" && fault != k.fault:
		k.log.Error("the new certificate cannot be used: the old one stays in use", "error", fault, "expires", before.Leaf.NotAfter)
	case before != k.current:
		k.log.Info("the certificate was replaced", "expires", k.current.Leaf.NotAfter)
	}
	k.fault = fault
	return k.current, nil
}

// load reads the files. It compares their content, not their times: a Kubernetes secret is
// replaced by a symlink, and a restored file may be older.
func (k *certificate) load() error {
	cert, err := os.ReadFile(k.certFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(k.keyFile)
	if err != nil || bytes.Equal(cert, k.cert) && bytes.Equal(key, k.key) {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", k.certFile, k.keyFile, err)
	}
	k.cert, k.key, k.current = cert, key, &pair
	return nil
}
