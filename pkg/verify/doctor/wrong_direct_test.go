package doctor_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/verify"
	"github.com/pierless/pierless/pkg/verify/doctor"
)

func wrongDirect() []wrongRegistry {
	every := func(advice string) map[string]string {
		return map[string]string{"direct-upload": advice, "direct-refusals": advice, "direct-parts": advice}
	}
	from := func(status, to int) func(*cloud, *reply) {
		return func(_ *cloud, r *reply) {
			if r.status == status {
				r.becomes(to, "Internal Server Error")
			}
		}
	}
	return []wrongRegistry{
		{"offers not routed", every("as in the template"), answers("POST", toOffer, from(http.StatusAccepted, http.StatusNotFound))},
		{"offers without permission", every("DynamoDB"), answers("POST", toOffer, func(_ *cloud, r *reply) {
			if r.status == http.StatusAccepted {
				r.status = http.StatusInternalServerError
				r.setBody([]byte(`{"errors":[{"code":"UNKNOWN"}]}`))
			}
		})},
		{"no direct uploads behind functions", every("as in the template"), answers("POST", toOffer, func(_ *cloud, r *reply) {
			if r.status == http.StatusAccepted {
				r.status = http.StatusNotFound
				r.setBody([]byte(`{"errors":[{"code":"UNSUPPORTED"}]}`))
			}
		})},
		{
			"bytes that the signature does not allow",
			map[string]string{"direct-upload": "as it was signed", "direct-refusals": "as it was signed"},
			offers(func(c *cloud, _ string) string { return c.store.URL }),
		},
		{"a role that may not write", map[string]string{"direct-upload": "s3:PutObject", "direct-refusals": "s3:PutObject"}, offers(refuses("AccessDenied"))},
		{"a key that is not there", map[string]string{"direct-upload": "KmsKeyArn", "direct-refusals": "KmsKeyArn"}, offers(refuses("KMS.NotFoundException"))},
		{"a store that checks nothing", map[string]string{"direct-refusals": "enforces signed headers"}, offers(forgiving(0))},
		{"a store without conditions", map[string]string{"direct-refusals": "enforces signed headers"}, offers(forgiving(http.StatusPreconditionFailed))},
		{"completion fails", map[string]string{"direct-upload": "s3:GetObject"}, answers("PUT", toDirect, from(http.StatusCreated, http.StatusInternalServerError))},
		{"parts not routed", map[string]string{"direct-parts": "as in the template"}, answers("POST", toParts, from(http.StatusOK, http.StatusNotFound))},
		{"parts are not joined", map[string]string{"direct-parts": "s3:ListMultipartUploadParts"}, answers("PUT", toDirect, from(http.StatusAccepted, http.StatusInternalServerError))},
		{"verification fails", map[string]string{"direct-parts": "VerifyMemorySize"}, answers("POST", toVerify, from(http.StatusCreated, http.StatusInternalServerError))},
	}
}

// offers sends clients elsewhere with the bytes of a blob in one piece.
func offers(elsewhere func(c *cloud, store string) string) wrap {
	return answers("POST", toOffer, func(c *cloud, r *reply) {
		var u direct.Upload
		if r.status != http.StatusAccepted || json.Unmarshal(r.body, &u) != nil || u.Put == nil {
			return
		}
		at, err := url.Parse(u.Put.URL)
		if err != nil {
			panic(err)
		}
		u.Put.URL = elsewhere(c, at.Scheme+"://"+at.Host) + at.Path
		body, err := json.Marshal(u)
		if err != nil {
			panic(err)
		}
		r.setBody(body)
	})
}

// refuses is a store that answers with an error.
func refuses(code string) func(*cloud, string) string {
	return func(c *cloud, _ string) string {
		return c.beside(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { storeFault(w, http.StatusForbidden, code) }))
	}
}

// forgiving is a store that answers 200 where another would have refused, with this
// status, or with any.
func forgiving(status int) func(*cloud, string) string {
	return func(c *cloud, store string) string {
		to, err := url.Parse(store)
		if err != nil {
			panic(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(to)
		proxy.ModifyResponse = func(r *http.Response) error {
			if status == 0 || r.StatusCode == status {
				r.StatusCode = http.StatusOK
			}
			return nil
		}
		return c.beside(proxy)
	}
}

// beside starts another server, for as long as the store runs.
func (c *cloud) beside(h http.Handler) string {
	srv := httptest.NewServer(h)
	c.t.Cleanup(srv.Close)
	return srv.URL
}

// TestDirectNotOffered: a registry that has no store to send clients to is right, where
// it is no function.
func TestDirectNotOffered(t *testing.T) {
	c := embedded(t)
	own := answers(anyMethod, all, func(_ *cloud, r *reply) { r.header.Del("Apigw-Requestid") })(c, c.door(false))
	url := serve(t, answers("POST", toOffer, func(_ *cloud, r *reply) {
		if r.status == http.StatusAccepted {
			r.status = http.StatusNotFound
			r.setBody([]byte(`{"errors":[{"code":"UNSUPPORTED"}]}`))
		}
	})(c, own))
	for _, f := range examine(t, doctor.Options{URL: url, Only: []string{"direct-*"}}).Results {
		if f.Status != verify.Passed {
			t.Errorf("%s is %s: %s", f.ID, f.Status, f.Detail)
		}
	}
}
