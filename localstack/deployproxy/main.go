// Command deployproxy serves an HTTP API that is deployed on MiniStack under a separate
// address. MiniStack handles paths under /v2/ itself, as its emulation of ECR; it passes
// them to the API only under the path that contains the API's ID.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:4577", "address to listen on")
	target := flag.String("target", "http://127.0.0.1:4576", "URL of MiniStack")
	api := flag.String("api", "", "ID of the HTTP API")
	flag.Parse()
	if err := run(*listen, *target, *api); err != nil {
		fmt.Fprintln(os.Stderr, "deployproxy:", err)
		os.Exit(1)
	}
}

func run(listen, target, api string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	if api == "" {
		return errors.New("--api is required")
	}
	if host, _, err := net.SplitHostPort(listen); err != nil || !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("%s is not a loopback address", listen)
	}
	prefix := "/_aws/execute-api/" + api + "/$default"
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		// API Gateway matches {proxy+} with the empty rest of ".../uploads/"; MiniStack does
		// not. Remove the slash, as API Gateway may do too.
		cut := func(path string) string {
			if strings.HasSuffix(path, "/blobs/uploads/") {
				path = strings.TrimSuffix(path, "/")
			}
			return prefix + path
		}
		r.SetURL(to)
		r.Out.Host = r.In.Host // unchanged, as functions build the URL of the token endpoint from it
		r.Out.URL.Path, r.Out.URL.RawPath = cut(r.In.URL.Path), cut(r.In.URL.EscapedPath())
	}}
	server := &http.Server{Addr: listen, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
