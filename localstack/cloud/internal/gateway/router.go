package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Route is one route of the API.
type Route struct {
	Key      string // "GET /v2/{name}/tags/list" or "$default"
	Function string
	Timeout  time.Duration
	// Permitted says that the API may invoke the function; else it answers 500.
	Permitted bool
	// Mapping has the response parameters: by status a source for each destination, for
	// example overwrite:header.www-authenticate from $response.header.x-registry-challenge.
	Mapping map[string]map[string]string
}

// Kinds of segments, from the most to the least specific.
const (
	literal = iota
	variable
	greedy
)

type segment struct {
	kind int
	text string // the literal, or the variable's name
}

type compiled struct {
	Route
	method   string
	segments []segment
	mappings map[string][]mapping
}

// router finds the route of a request.
type router struct {
	routes   []*compiled // most specific first
	fallback *compiled   // $default
}

func newRouter(routes []Route) (*router, error) {
	r := &router{}
	for _, route := range routes {
		c := &compiled{Route: route}
		var err error
		if c.mappings, err = compileMappings(route.Mapping); err != nil {
			return nil, fmt.Errorf("route %q: %w", route.Key, err)
		}
		if route.Key == "$default" {
			r.fallback = c
			continue
		}
		method, path, ok := strings.Cut(route.Key, " ")
		if !ok || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%q is not a route key", route.Key)
		}
		c.method = method
		for _, text := range split(path) {
			c.segments = append(c.segments, newSegment(text))
		}
		r.routes = append(r.routes, c)
	}
	slices.SortStableFunc(r.routes, bySpecificity)
	return r, nil
}

func newSegment(text string) segment {
	name, ok := strings.CutPrefix(text, "{")
	if !ok {
		return segment{literal, text}
	}
	name = strings.TrimSuffix(name, "}")
	if short, ok := strings.CutSuffix(name, "+"); ok {
		return segment{greedy, short}
	}
	return segment{variable, name}
}

// bySpecificity orders routes as API Gateway documents it: full matches before greedy
// ones. Within each, literals before variables from left to right, then a method before
// ANY.
func bySpecificity(a, b *compiled) int {
	isGreedy := func(c *compiled) int { return boolToInt(c.segments[len(c.segments)-1].kind == greedy) }
	if order := cmp.Compare(isGreedy(a), isGreedy(b)); order != 0 {
		return order
	}
	for i := range min(len(a.segments), len(b.segments)) {
		if order := cmp.Compare(a.segments[i].kind, b.segments[i].kind); order != 0 {
			return order
		}
	}
	if order := cmp.Compare(len(b.segments), len(a.segments)); order != 0 {
		return order
	}
	return cmp.Compare(boolToInt(a.method == "ANY"), boolToInt(b.method == "ANY"))
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "/"), "/") }

// find returns the route of a decoded path and its variables, or nil if there is none.
func (r *router) find(method, path string) (*compiled, map[string]string) {
	segments := split(path)
	for _, c := range r.routes {
		if c.method != "ANY" && c.method != method {
			continue
		}
		if variables, ok := c.match(segments); ok {
			return c, variables
		}
	}
	return r.fallback, nil
}

func (c *compiled) match(path []string) (map[string]string, bool) {
	variables := map[string]string{}
	for i, s := range c.segments {
		switch {
		case i >= len(path):
			return nil, false
		case s.kind == greedy:
			// It matches everything after the slash, even nothing: /a/{x+} matches /a/, not /a.
			variables[s.text] = strings.Join(path[i:], "/")
			return variables, true
		case s.kind == variable && path[i] != "":
			variables[s.text] = path[i]
		case s.kind == literal && s.text == path[i]:
		default:
			return nil, false
		}
	}
	return variables, len(path) == len(c.segments)
}
