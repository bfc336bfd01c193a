package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxPage is the largest page of a list that is read, in bytes: what it says takes many
// times as much.
const maxPage = 8 << 20

// Tags lists the tags, page by page (spec, end-8). The error is NAME_UNKNOWN, among
// others; after an error nothing more comes.
func (r *Repository) Tags(ctx context.Context) iter.Seq2[string, error] {
	return listStrings(ctx, r.client, r.newRequest(http.MethodGet, route.Request{Kind: route.TagList}, "pull"), "tags")
}

// listStrings lists the strings in one field of every page.
func listStrings(ctx context.Context, c *Client, k request, field string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range c.pages(ctx, k) {
			var body map[string]json.RawMessage
			var entries []string
			if err == nil {
				err = json.Unmarshal(page, &body)
			}
			if raw, there := body[field]; err == nil && there {
				err = json.Unmarshal(raw, &entries)
			}
			if err != nil {
				yield("", err)
				return
			}
			for _, entry := range entries {
				if !yield(entry, nil) {
					return
				}
			}
		}
	}
}

// pages gets a list, following Link from page to page. It ends with the first error.
func (c *Client) pages(ctx context.Context, k request) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		seen := map[oci.Digest]bool{} // of addresses, which a registry can make long
		for k.url != nil {
			address := oci.SHA256.FromBytes([]byte(k.url.String()))
			if seen[address] {
				yield(nil, fmt.Errorf("GET %s: the pages of the list go round in a circle", k.label))
				return
			}
			seen[address] = true
			page, next, err := c.page(ctx, k)
			if !yield(page, err) || err != nil {
				return
			}
			k.url = next
		}
	}
}

// page gets one page and finds the next.
func (c *Client) page(ctx context.Context, k request) (content []byte, next *url.URL, err error) {
	got, err := c.read(ctx, k, maxPage)
	if err != nil {
		return nil, nil, err
	}
	next, err = c.nextPage(k.url, got.header)
	return got.body, next, err
}

// nextPage reads the Link of a page (RFC 8288); nil at the last one. Only a list of the
// registry itself is followed.
func (c *Client) nextPage(from *url.URL, h http.Header) (*url.URL, error) {
	target := nextLink(h.Values("Link"))
	if target == "" {
		return nil, nil // the last page
	}
	next, err := from.Parse(target)
	if err != nil {
		return nil, errors.New("the Link to the next page is no URL")
	}
	if next.Host == from.Host {
		next.Scheme = from.Scheme // a front door that ends TLS may not know it
	}
	if !sameOrigin(next, &c.base) {
		return nil, fmt.Errorf("the next page of the list is on another host, %s", next.Host)
	}
	return next, nil
}

// nextLink finds the target with rel=next: <target>; rel="next", <...>.
func nextLink(headers []string) string {
	rest := strings.Join(headers, ",")
	for {
		_, after, found := strings.Cut(rest, "<")
		target, after, closed := strings.Cut(after, ">")
		if !found || !closed {
			return ""
		}
		params, _, _ := strings.Cut(after, "<")
		params = strings.ReplaceAll(strings.ToLower(params), " ", "")
		if strings.Contains(params, `rel="next"`) || strings.Contains(params, "rel=next") {
			return target
		}
		rest = after
	}
}
