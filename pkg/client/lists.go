package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxPage is the limit for a page of a list, in bytes: its entries take many times as much
// memory.
const maxPage = 8 << 20

// Tags lists the tags, page by page (spec, end-8), up to the first error. The error is
// NAME_UNKNOWN, among others.
func (r *Repository) Tags(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range r.client.pages(ctx, r.newRequest(http.MethodGet, route.Request{Kind: route.TagList}, "pull")) {
			var list struct{ Tags []string }
			if err == nil {
				err = json.Unmarshal(page, &list)
			}
			if err != nil {
				yield("", err)
				return
			}
			for _, tag := range list.Tags {
				if !yield(tag, nil) {
					return
				}
			}
		}
	}
}

// pages gets a list, following Link from page to page, up to the first error.
func (c *Client) pages(ctx context.Context, k request) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		seen := map[oci.Digest]bool{} // of URLs, which a registry can make long
		for k.url != nil {
			address := oci.SHA256.FromBytes([]byte(k.url.String()))
			if seen[address] {
				yield(nil, fmt.Errorf("GET %s: the pages of the list link to each other in a circle", k.label))
				return
			}
			seen[address] = true
			page, err := c.read(ctx, k, maxPage)
			if err == nil {
				k.url, err = c.nextPage(k.url, page.header)
			}
			if !yield(page.body, err) || err != nil {
				return
			}
		}
	}
}

// nextPage returns the URL in the Link of a page (RFC 8288), or nil at the last one. The error
// is for another host than the registry's.
func (c *Client) nextPage(from *url.URL, h http.Header) (*url.URL, error) {
	target := nextLink(h.Values("Link"))
	if target == "" {
		return nil, nil // the last page
	}
	next, err := from.Parse(target)
	if err != nil {
		return nil, errors.New("the Link to the next page is not a URL")
	}
	if next.Host == from.Host {
		next.Scheme = from.Scheme // a registry behind a proxy that terminates TLS
	}
	if !sameOrigin(next, &c.base) {
		return nil, fmt.Errorf("the next page of the list is on another host, %s", next.Host)
	}
	return next, nil
}

var linkTarget = regexp.MustCompile(`(?i)<([^>]*)>[^<]*\brel *= *"?next`)

// nextLink returns the target with rel=next: <target>; rel="next", <...>.
func nextLink(headers []string) string {
	if link := linkTarget.FindStringSubmatch(strings.Join(headers, ",")); link != nil {
		return link[1]
	}
	return ""
}
