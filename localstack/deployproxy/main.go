// Command deployproxy gives a deployed HTTP API on MiniStack an address of its own.
// MiniStack answers paths under /v2/ itself, as a registry that is not ours; by the
// long path that names the API it hands them to the functions.
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
	target := flag.String("target", "http://127.0.0.1:4576", "MiniStack")
	api := flag.String("api", "", "id of the HTTP API")
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
		return errors.New("which API? --api names it")
	}
	if host, _, err := net.SplitHostPort(listen); err != nil || !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("%s is no loopback address", listen)
	}
	prefix := "/_aws/execute-api/" + api + "/$default"
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		// The gateway lets {proxy+} stand for the nothing behind ".../uploads/" too, where
		// MiniStack finds no route; a gateway may also cut the slash off, as is done here.
		cut := func(path string) string {
			if strings.HasSuffix(path, "/blobs/uploads/") {
				path = strings.TrimSuffix(path, "/")
			}
			return prefix + path
		}
		r.SetURL(to)
		r.Out.Host = r.In.Host // as it reaches the gateway: functions name their token endpoint by it
		r.Out.URL.Path, r.Out.URL.RawPath = cut(r.In.URL.Path), cut(r.In.URL.EscapedPath())
	}}
	server := &http.Server{Addr: listen, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
