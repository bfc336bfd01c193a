package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/pierless/pierless/pkg/oci/route"
)

// Call is a request to an endpoint of Pierless that belongs to no repository. Its bodies are JSON.
type Call struct {
	Method string
	Kind   route.Kind
	Query  url.Values
	// IfMatch is sent in the header of that name; "" for none.
	IfMatch string
	Body    any // nil for none
	Answer  any // a pointer: the answer is decoded into it
	// Proof marks a body that proves an identity: the request has no other credentials, and
	// follows no redirect.
	Proof bool
}

// Call makes a request and returns the ETag of the answer. It repeats only requests that read and
// logins: the repetition of a change would fail because of the first one.
func (c *Client) Call(ctx context.Context, call Call) (etag string, err error) {
	k := c.newRequest(call.Method, route.Request{Kind: call.Kind})
	k.url.RawQuery = call.Query.Encode()
	k.token = call.Proof
	k.noRetry = call.Method != http.MethodGet && !call.Proof
	if call.IfMatch != "" {
		k.header.Set("If-Match", call.IfMatch)
	}
	if call.Body != nil {
		body, err := json.Marshal(call.Body)
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", k.method, k.label, err)
		}
		k.body, k.size = bytesBody(body), int64(len(body))
		k.header.Set("Content-Type", "application/json")
	}
	page, err := c.read(ctx, k, maxPage)
	if err != nil {
		return "", err
	}
	if json.Unmarshal(page.body, call.Answer) != nil { // its error may repeat a part of a secret
		return "", fmt.Errorf("%s %s: the answer is not that of Pierless (docs/access.md)", k.method, k.label)
	}
	return page.header.Get("ETag"), nil
}
