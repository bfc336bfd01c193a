package client_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
)

func TestPages(t *testing.T) {
	for name, tt := range map[string]struct {
		link string
		want []string // tags; an error after them where the last is "!"
	}{
		"relative":       {`</v2/a/tags/list?last=b&n=2>; rel="next"`, []string{"a", "b", "c"}},
		"no slash":       {`<list?last=b,x&n=2>;rel=next`, []string{"a", "b", "c"}},
		"several":        {`</x,y>; rel="prev", </v2/a/tags/list?last=b>; rel="next"`, []string{"a", "b", "c"}},
		"none":           {``, []string{"a", "b"}},
		"not next":       {`</v2/a/tags/list?last=b>; rel="last"`, []string{"a", "b"}},
		"broken":         {`/v2/a/tags/list?last=b; rel="next"`, []string{"a", "b"}},
		"another host":   {`<http://store.example/x>; rel="next"`, []string{"!"}},
		"no URL":         {`<http://%zz>; rel="next"`, []string{"!"}},
		"goes in circle": {`</v2/a/tags/list>; rel="next"`, []string{"a", "b", "!"}},
	} {
		r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.RawQuery, "last=b") {
				_, _ = w.Write([]byte(`{"name":"a","tags":["c"]}`))
				return
			}
			if tt.link != "" {
				w.Header().Set("Link", tt.link)
			}
			_, _ = w.Write([]byte(`{"name":"a","tags":["a","b"]}`))
		})), "a", client.Options{})
		var got []string
		for tag, err := range r.Tags(t.Context()) {
			if err != nil {
				tag = "!"
			}
			got = append(got, tag)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestListsThatAreNone: null is an empty list, another body an error.
func TestListsThatAreNone(t *testing.T) {
	for body, want := range map[string]int{`{"name":"a","tags":null}`: 0, `{}`: 0, `[]`: 1, `<html>`: 1, `{"tags":5}`: 1} {
		r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })), "a", client.Options{})
		failed := 0
		for _, err := range r.Tags(t.Context()) {
			if err == nil {
				t.Errorf("%s has a tag", body)
			}
			failed++
		}
		if failed != want {
			t.Errorf("%s: %d errors, want %d", body, failed, want)
		}
	}
}
