package doctor_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// wrongRegistry is a deployment with one fault: the checks that must see it, each
// with a part of the advice.
type wrongRegistry struct {
	name   string
	caught map[string]string
	wrap   wrap
}

// everyChallenge is what a fault of the challenge on all routes shows in.
func everyChallenge(advice string) map[string]string {
	return map[string]string{"challenge": advice, "challenge-head": advice, "challenge-routes": advice}
}

func wrongRegistries() []wrongRegistry {
	const mapping = "overwrite:header.www-authenticate"
	return append([]wrongRegistry{
		{"challenge renamed", everyChallenge(mapping), answers(anyMethod, all, func(_ *cloud, r *reply) { renameChallenge(r) })},
		{"challenge renamed, no second one", everyChallenge("must send X-Registry-Challenge"), answers(anyMethod, all, func(_ *cloud, r *reply) {
			renameChallenge(r)
			r.header.Del("X-Registry-Challenge")
		})},
		{"challenge dropped, not mapped", everyChallenge(mapping), answers(anyMethod, all, func(_ *cloud, r *reply) { r.header.Del("WWW-Authenticate") })},
		{"no challenge at all", everyChallenge("must send WWW-Authenticate"), answers(anyMethod, all, func(_ *cloud, r *reply) {
			r.header.Del("WWW-Authenticate")
			r.header.Del("X-Registry-Challenge")
		})},
		{"challenge of a function URL", everyChallenge("a function URL does not map headers"), answers(anyMethod, all, func(_ *cloud, r *reply) {
			renameChallenge(r)
			r.header.Del("Apigw-Requestid")
			r.header.Set("X-Amzn-Requestid", "id")
		})},
		{"challenge not on HEAD", map[string]string{"challenge-head": mapping}, answers("HEAD", all, func(_ *cloud, r *reply) { r.header.Del("WWW-Authenticate") })},
		{"challenge not on tags", map[string]string{"challenge-routes": mapping}, answers("GET", toTags, func(_ *cloud, r *reply) { r.header.Del("WWW-Authenticate") })},
		{"authorizer on a route", map[string]string{"challenge-routes": "remove the authorizer"}, answers("GET", regexp.MustCompile(`/referrers/`), func(_ *cloud, r *reply) {
			if r.status == http.StatusUnauthorized {
				r.becomes(http.StatusUnauthorized, "Unauthorized")
			}
		})},
		{
			"tags open to any password",
			map[string]string{"challenge-routes": "AdminTokenSha256", "wrong-password": "AdminTokenSha256", "anonymous-pull": "PIERLESS_ANONYMOUS_PULL"},
			requests("GET", toTags, authorized),
		},
		{
			"anonymous push of blobs",
			map[string]string{"challenge-routes": "AdminTokenSha256", "wrong-password": "AdminTokenSha256", "anonymous-push": "AdminTokenSha256"},
			requests("POST", toUploads, authorized),
		},
		{
			"anonymous push of manifests",
			map[string]string{"challenge-routes": "AdminTokenSha256", "wrong-password": "AdminTokenSha256", "anonymous-push": "manifests"},
			requests("PUT", toManifest, authorized),
		},
		{"catalog open", map[string]string{"challenge-routes": "", "wrong-password": "", "anonymous-pull": "base"}, requests("GET", regexp.MustCompile(`_catalog`), authorized)},
		{"slash not routed", map[string]string{"trailing-slash": "blobs/uploads/{proxy+}", "challenge-routes": "as in the template"}, answers("POST", toUploads, func(_ *cloud, r *reply) { r.becomes(http.StatusNotFound, "Not Found") })},
		{"/v2/ not routed", map[string]string{"trailing-slash": "$default", "challenge": "", "challenge-head": ""}, answers("GET|HEAD", regexp.MustCompile(`^/v2/$`), func(_ *cloud, r *reply) { r.becomes(http.StatusNotFound, "Not Found") })},
		{"/v2 not routed", map[string]string{"trailing-slash": "$default"}, answers("GET", regexp.MustCompile(`^/v2$`), func(_ *cloud, r *reply) { r.becomes(http.StatusNotFound, "Not Found") })},
		{"Location on another host", map[string]string{"upload-location": "relative Location"}, answers("POST", toUploads, absoluteLocation("http://elsewhere.example"))},
		{"DELETE not routed", map[string]string{"cleanup": "DELETE"}, answers("DELETE", toBlob, func(_ *cloud, r *reply) { r.becomes(http.StatusMethodNotAllowed, "Method Not Allowed") })},
		{"clock", map[string]string{"clock": "timedatectl"}, answers("GET", all, func(_ *cloud, r *reply) {
			r.header.Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
		})},
	}, slices.Concat(wrongLogins(), wrongPaths(), wrongContent(), wrongRedirects(), wrongDirect(), wrongLoad())...)
}

// wrongLogins are faults of registries that are open to pull.
func wrongLogins() []wrongRegistry {
	ping, toToken := regexp.MustCompile(`^/v2/$`), regexp.MustCompile(`/_pierless/token`)
	open := func(w wrap) wrap {
		return func(c *cloud, _ http.Handler) http.Handler { return w(c, c.door(true)) }
	}
	realm := func(old, replacement string) wrap {
		return open(answers(anyMethod, all, func(_ *cloud, r *reply) {
			if got := r.header.Get("WWW-Authenticate"); got != "" {
				r.header.Set("WWW-Authenticate", strings.Replace(got, old, replacement, 1))
			}
		}))
	}
	only := func(is func(*http.Request) bool, w wrap) wrap {
		return func(c *cloud, next http.Handler) http.Handler {
			changed := w(c, next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if is(r) {
					changed.ServeHTTP(w, r)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	nobody := func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }
	bearer := func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") }
	return []wrongRegistry{
		{"open to pull, rightly", nil, open(func(_ *cloud, next http.Handler) http.Handler { return next })},
		{"/v2/ open", map[string]string{"login": "current version", "anonymous-pull": "login"}, open(only(nobody, requests("GET", ping, authorized)))},
		{"/v2/ open, pull closed", map[string]string{"login": "current version"}, only(nobody, requests("GET", ping, authorized))},
		{"Basic although pull is open", map[string]string{"anonymous-pull": "AnonymousPull"}, open(answers(anyMethod, all, func(_ *cloud, r *reply) {
			if r.status == http.StatusUnauthorized {
				r.header.Set("WWW-Authenticate", `Basic realm="pierless"`)
			}
		}))},
		{"realm on another host", map[string]string{"login": "Host", "anonymous-pull": "login"}, realm("127.0.0.1", "127.0.0.2")},
		{"realm with another scheme", map[string]string{"login": "X-Forwarded-Proto", "anonymous-pull": "login"}, realm("http://", "https://")},
		{"realm that is no URL", map[string]string{"login": "Host", "anonymous-pull": "login"}, realm("http://", ":")},
		{"token endpoint not routed", map[string]string{"login": "$default", "anonymous-pull": "AnonymousPull"}, open(answers("GET", toToken, func(_ *cloud, r *reply) {
			r.becomes(http.StatusNotFound, "Not Found")
		}))},
		{"token endpoint refuses", map[string]string{"login": "Authorization"}, open(requests("GET", toToken, func(r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				r.SetBasicAuth("", "other")
			}
		}))},
		{"token that is not taken", map[string]string{"login": "must not change Authorization"}, open(only(bearer, requests("POST", toUploads, func(r *http.Request) {
			r.Header.Del("Authorization")
		})))},
		{"catalog open, other repositories closed", map[string]string{"anonymous-pull": "base"}, open(func(c *cloud, next http.Handler) http.Handler {
			closed := c.door(false)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if bearer(r) && strings.HasSuffix(r.URL.Path, "/tags/list") {
					r.Header.Del("Authorization")
					closed.ServeHTTP(w, r)
					return
				}
				next.ServeHTTP(w, r)
			})
		})},
		{"push open to the anonymous token", map[string]string{"anonymous-push": "AdminTokenSha256"}, open(only(bearer, requests("PUT", toManifest, authorized)))},
	}
}

func wrongPaths() []wrongRegistry {
	const lambdahttp = "pkg/server/lambdahttp"
	cut := func(sep string) func(*http.Request) {
		return func(r *http.Request) {
			r.URL.Path, _, _ = strings.Cut(r.URL.Path, sep)
			r.URL.RawPath = ""
		}
	}
	questionMark := regexp.MustCompile(`%3F`)
	return []wrongRegistry{
		{"504 for a percent", map[string]string{"decoded-path": lambdahttp}, answers("GET", regexp.MustCompile(`%25`), func(_ *cloud, r *reply) { r.becomes(http.StatusGatewayTimeout, "Gateway Timeout") })},
		{"path cut at ? by an HTTP API, as it does", nil, requests("GET", questionMark, cut("?"))},
		{"path cut at ? by what is no HTTP API", map[string]string{"decoded-path": lambdahttp}, func(c *cloud, next http.Handler) http.Handler {
			next = requests("GET", questionMark, cut("?"))(c, next)
			return answers(anyMethod, all, func(_ *cloud, r *reply) { r.header.Del("Apigw-Requestid") })(c, next)
		}},
		{"query behind an escaped ?", map[string]string{"decoded-path": lambdahttp}, requests("GET", questionMark, func(r *http.Request) {
			r.URL.Path, r.URL.RawQuery, _ = strings.Cut(r.URL.Path, "?")
			r.URL.RawPath = ""
		})},
		{"path cut at #", map[string]string{"decoded-path": lambdahttp}, requests("GET", regexp.MustCompile(`%23`), cut("#"))},
		{"path decoded twice", map[string]string{"decoded-path": lambdahttp}, requests("GET", regexp.MustCompile(`%25`), func(r *http.Request) {
			if path, err := url.PathUnescape(r.URL.Path); err == nil {
				r.URL.Path, r.URL.RawPath = path, ""
			}
		})},
		{"path not decoded", map[string]string{"decoded-path": lambdahttp}, requests("GET", regexp.MustCompile(`%3A`), func(r *http.Request) { r.URL.Path, r.URL.RawPath = strings.ReplaceAll(r.URL.Path, ":", "%3A"), "" })},
		{"Link lost", map[string]string{"link-header": "multiValueHeaders"}, answers("GET", toTags, func(_ *cloud, r *reply) { r.header.Del("Link") })},
		{"Link elsewhere", map[string]string{"link-header": "relative Link"}, answers("GET", toTags, func(_ *cloud, r *reply) {
			if link := r.header.Get("Link"); link != "" {
				r.header.Set("Link", strings.Replace(link, "</", "<https://elsewhere.example/", 1))
			}
		})},
		{"query lost", map[string]string{"link-header": "query"}, requests("GET", toTags, func(r *http.Request) { r.URL.RawQuery = "" })},
		{"query of the page lost", map[string]string{"link-header": "query"}, requests("GET", toTags, func(r *http.Request) {
			q := r.URL.Query()
			q.Del("last")
			r.URL.RawQuery = q.Encode()
		})},
	}
}

func wrongContent() []wrongRegistry {
	length := func(n string) func(*cloud, *reply) {
		return func(_ *cloud, r *reply) {
			if r.status == http.StatusOK {
				r.header.Set("Content-Length", n)
			}
		}
	}
	noLength := func(_ *cloud, r *reply) { r.header["Content-Length"] = nil }
	oversize := func(status int) wrap {
		return answers("PATCH", toSession, func(_ *cloud, r *reply) {
			if r.status == http.StatusRequestEntityTooLarge {
				r.becomes(status, "Internal Server Error")
			}
		})
	}
	return []wrongRegistry{
		{"HEAD manifest 0", map[string]string{"head-manifest-length": "manifest as body"}, answers("HEAD", toManifest, length("0"))},
		{"HEAD manifest missing", map[string]string{"head-manifest-length": "manifest as body"}, answers("HEAD", toManifest, noLength)},
		{"HEAD manifest another", map[string]string{"head-manifest-length": "manifest as body"}, answers("HEAD", toManifest, length("7"))},
		{"HEAD manifest not routed", map[string]string{"head-manifest-length": "must accept HEAD", "challenge-head": ""}, answers("HEAD", toManifest, func(_ *cloud, r *reply) { r.becomes(http.StatusNotFound, "Not Found") })},
		{"HEAD blob 0", map[string]string{"head-blob-length": "RedirectHead to true"}, answers("HEAD", toBlob, length("0"))},
		{"HEAD blob missing", map[string]string{"head-blob-length": "RedirectHead to true"}, answers("HEAD", toBlob, noLength)},
		{"HEAD blob sent to a URL for GET", map[string]string{"head-blob-length": "for HEAD"}, answers("HEAD", toBlob, redirectHead(http.MethodGet))},
		{"HEAD blob sent to a URL for HEAD, rightly", nil, answers("HEAD", toBlob, redirectHead(http.MethodHead))},
		{"manifests answered as base64", map[string]string{"manifest-bytes": "set isBase64Encoded"}, answers("GET", toManifest, func(_ *cloud, r *reply) {
			if r.status == http.StatusOK {
				r.setBody([]byte(base64.StdEncoding.EncodeToString(r.body)))
			}
		})},
		{"manifests taken as base64", map[string]string{"manifest-bytes": "must decode the body"}, requests("PUT", toManifest, changeBody(func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }))},
		{"letters beyond ASCII lost", map[string]string{"manifest-bytes": "never convert text", "head-manifest-length": ""}, requests("PUT", toManifest, changeBody(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("ü"), []byte("?")) }))},
		{"line break at the end lost", map[string]string{"manifest-bytes": "must not change bodies"}, answers("GET", toManifest, func(_ *cloud, r *reply) {
			if r.status == http.StatusOK {
				r.setBody(bytes.TrimSpace(r.body))
			}
		})},
		{"manifest type lost", map[string]string{"manifest-bytes": "text/plain"}, answers("GET", toManifest, func(_ *cloud, r *reply) { r.header.Set("Content-Type", "text/plain; charset=utf-8") })},
		{"digest of a manifest lost", map[string]string{"manifest-bytes": "Docker-Content-Digest"}, answers("GET", toManifest, func(_ *cloud, r *reply) { r.header.Del("Docker-Content-Digest") })},
		{"limit is 500", map[string]string{"body-limit": "must be 413"}, oversize(http.StatusInternalServerError)},
		{"limit is 400", map[string]string{"body-limit": "must be 413"}, oversize(http.StatusBadRequest)},
		{"limit breaks the connection", map[string]string{"body-limit": "read the body"}, breaksOff(lambdaLimit)},
		{"chunks too large", map[string]string{"body-chunk": "UploadMemorySize", "body-limit": "must be 413"}, limits(1<<20, http.StatusBadGateway)},
		{"chunks announced too large", map[string]string{"body-chunk": "4194304"}, answers("POST", toUploads, func(_ *cloud, r *reply) { r.header.Set("OCI-Chunk-Min-Length", "5242880") })},
		{"chunks changed on the way", map[string]string{"body-chunk": "isBase64Encoded"}, requests("PATCH", toSession, changeBody(func(b []byte) []byte {
			if len(b) > 0 {
				b[0]++
			}
			return b
		}))},
	}
}

func wrongRedirects() []wrongRegistry {
	location := func(old, replacement string) wrap {
		return answers("GET", toBlob, replaceInLocation(old, replacement))
	}
	permanent := answers("GET", toBlob, func(_ *cloud, r *reply) {
		if r.status == http.StatusTemporaryRedirect {
			r.status = http.StatusPermanentRedirect
		}
	})
	return []wrongRegistry{
		{"redirect without a digest", map[string]string{"blob-redirect": "Docker-Content-Digest"}, answers("GET", toBlob, func(_ *cloud, r *reply) { r.header.Del("Docker-Content-Digest") })},
		{"redirect for ever", map[string]string{"blob-redirect": "307"}, permanent},
		{"redirect nowhere", map[string]string{"blob-redirect": "Location", "presigned-host": "", "presigned-get": "", "presigned-range": "", "presigned-expiry": ""}, answers("GET", toBlob, func(_ *cloud, r *reply) { r.header.Del("Location") })},
		{"bytes through the function", map[string]string{"blob-redirect": "PIERLESS_NO_REDIRECT"}, servesBlobs},
		{"redirect to an unreachable host", map[string]string{"presigned-host": "AWS_ENDPOINT_URL_S3"}, answers("GET", toBlob, moveStore("http://127.0.0.1:1"))},
		{"redirect to another region", map[string]string{"presigned-host": "AWS_REGION", "presigned-get": "AWS_REGION", "presigned-range": ""}, answers("GET", toBlob, moveToFault)},
		{"URL that wants a header", map[string]string{"presigned-get": "only the host", "presigned-range": ""}, location("SignedHeaders=host", "SignedHeaders=host%3Bx-amz-server-side-encryption")},
		{"URL with a signed range", map[string]string{"presigned-get": "only the host"}, location("SignedHeaders=host", "SignedHeaders=host%3Brange")},
		{"URL signed for HEAD", map[string]string{"presigned-get": "as it was signed", "presigned-range": ""}, location("for=GET", "for=HEAD")},
		{"URL for a day", map[string]string{"presigned-expiry": "20 minutes"}, location("Expires=1200", "Expires=86400")},
		{"URL without a signature", map[string]string{"presigned-expiry": "public bucket"}, answers("GET", toBlob, func(_ *cloud, r *reply) {
			r.header.Set("Location", strings.Split(r.header.Get("Location"), "?")[0]+"?for=GET")
		})},
	}
}

func renameChallenge(r *reply) {
	if value := r.header.Get("WWW-Authenticate"); value != "" {
		r.header.Del("WWW-Authenticate")
		r.header.Set("x-amzn-Remapped-WWW-Authenticate", value)
	}
}

func authorized(r *http.Request) { r.SetBasicAuth("", password) }

func absoluteLocation(base string) func(*cloud, *reply) {
	return func(_ *cloud, r *reply) { r.header.Set("Location", base+r.header.Get("Location")) }
}

func replaceInLocation(old, replacement string) func(*cloud, *reply) {
	return func(_ *cloud, r *reply) {
		if location := r.header.Get("Location"); location != "" {
			r.header.Set("Location", strings.Replace(location, old, replacement, 1))
		}
	}
}

func redirectHead(signedFor string) func(*cloud, *reply) {
	return func(c *cloud, r *reply) {
		if r.status == http.StatusOK {
			r.status = http.StatusTemporaryRedirect
			r.header.Set("Location", c.presigned(signedFor, r.request.URL.Path))
			r.header.Set("Content-Length", "0")
		}
	}
}

// servesBlobs hands out the bytes itself, through the gateway.
func servesBlobs(c *cloud, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := record(next, r); got.status == http.StatusTemporaryRedirect {
			c.registry.ServeHTTP(w, r)
		} else {
			got.send(w)
		}
	})
}

// moveToFault sends pulls to a store that says that the bucket is elsewhere: the
// registry's own address, at a path that is none of its.
func moveToFault(c *cloud, r *reply) {
	if r.request.URL.Query().Has("X-Amz-Expires") {
		r.status, r.header = http.StatusBadRequest, http.Header{"X-Amz-Bucket-Region": {"us-west-2"}}
		r.setBody([]byte(`<Error><Code>AuthorizationHeaderMalformed</Code></Error>`))
		return
	}
	moveStore("http://"+r.request.Host+"/v2")(c, r)
}

// limits refuses larger bodies.
func limits(n int64, status int) wrap {
	return func(_ *cloud, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > n {
				_, _ = io.Copy(io.Discard, r.Body)
				gatewayFault(w, status, "Internal Server Error")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// breaksOff closes the connection on larger bodies.
func breaksOff(n int64) wrap {
	return func(_ *cloud, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > n {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	}
}
