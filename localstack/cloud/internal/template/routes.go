package template

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// API Gateway's limits for integrations of HTTP APIs, in milliseconds.
const (
	minIntegrationTimeout = 50
	maxIntegrationTimeout = 30000
)

func (l *loader) routes() error {
	ids, err := l.of(typeRoute)
	if err != nil {
		return err
	}
	keys := make(map[string]string, len(ids))
	for _, id := range ids {
		r, err := l.route(id)
		if err != nil {
			return err
		}
		if other, twice := keys[r.Key]; twice {
			return errorAt("Resources."+id, "%s has the route key %q too", other, r.Key)
		}
		keys[r.Key] = id
		l.stack.Routes = append(l.stack.Routes, r)
	}
	if len(ids) == 0 {
		return errorAt("Resources", "there is no %s", typeRoute)
	}
	return nil
}

func (l *loader) route(id string) (Route, error) {
	at := "Resources." + id
	r := Route{LogicalID: id}
	var err error
	if r.Key, err = l.text(id, "RouteKey"); err != nil {
		return r, err
	}
	if err := checkKey(at, r.Key); err != nil {
		return r, err
	}
	authorization, err := l.text(id, "AuthorizationType")
	if err != nil {
		return r, err
	}
	if authorization != "" && authorization != "NONE" {
		return r, errorAt(at, "the local cloud does not know the authorization %s", authorization)
	}
	target, err := l.text(id, "Target")
	if err != nil {
		return r, err
	}
	integration, ok := strings.CutPrefix(target, "integrations/")
	if !ok || l.typeOf(integration) != typeIntegration {
		return r, errorAt(at, "its target %q is no integration of this template", target)
	}
	if err := l.integration(integration, &r); err != nil {
		return r, err
	}
	r.Permitted, err = l.permitted(r)
	if err == nil && !r.Permitted {
		l.stack.Warnings = append(l.stack.Warnings, fmt.Sprintf("%s: no %s lets the API invoke %s for %q: it answers 500", id, typePermission, r.Function, r.Key))
	}
	return r, err
}

var routeKey = regexp.MustCompile(`^(ANY|GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/(?:[^/]+(?:/[^/]+)*)?)$`)

// checkKey refuses what API Gateway refuses, a slash at the end above all.
func checkKey(at, key string) error {
	if key == "$default" {
		return nil
	}
	match := routeKey.FindStringSubmatch(key)
	if match == nil {
		return errorAt(at, "%q is no route key: a method and a path that does not end in a slash, or $default", key)
	}
	segments := strings.Split(match[2][1:], "/")
	for i, segment := range segments {
		variable := strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}")
		switch {
		case !variable && strings.ContainsAny(segment, "{}"):
			return errorAt(at, "%q: a variable is a whole segment", key)
		case variable && strings.HasSuffix(segment, "+}") && i != len(segments)-1:
			return errorAt(at, "%q: a greedy variable can only be the last segment", key)
		}
	}
	return nil
}

func (l *loader) integration(id string, r *Route) error {
	at := "Resources." + id
	if ids, err := l.of(typeIntegration); err != nil || !slices.Contains(ids, id) {
		return errorAt(at, "%s needs it, but its condition does not hold", r.LogicalID)
	}
	for name, want := range map[string]string{"IntegrationType": "AWS_PROXY", "PayloadFormatVersion": "2.0"} {
		got, err := l.text(id, name)
		if err != nil {
			return err
		}
		if got != want {
			return errorAt(at, "%s is %q: the local cloud knows %s", name, got, want)
		}
	}
	for _, name := range []string{"RequestParameters", "TlsConfig", "CredentialsArn", "ConnectionId"} {
		if value, err := l.property(id, name); err != nil || value != nil {
			return errorAt(at, "the local cloud does not know %s", name)
		}
	}
	uri, err := l.text(id, "IntegrationUri")
	if err != nil {
		return err
	}
	if r.Function, err = l.functionOf(at, uri); err != nil {
		return err
	}
	timeout, err := l.property(id, "TimeoutInMillis")
	if err != nil {
		return err
	}
	if r.TimeoutMillis, err = number(at+".TimeoutInMillis", timeout, maxIntegrationTimeout); err != nil {
		return err
	}
	if r.TimeoutMillis < minIntegrationTimeout || r.TimeoutMillis > maxIntegrationTimeout {
		return errorAt(at, "TimeoutInMillis is %d: %d to %d are allowed", r.TimeoutMillis, minIntegrationTimeout, maxIntegrationTimeout)
	}
	r.Mapping, err = l.mapping(id)
	return err
}

// mapping reads ResponseParameters: by status a list of destinations and sources
// (CloudFormation's shape).
func (l *loader) mapping(id string) (map[string][]Parameter, error) {
	at := "Resources." + id + ".ResponseParameters"
	value, err := l.property(id, "ResponseParameters")
	if err != nil || value == nil {
		return nil, err
	}
	byStatus, ok := value.(map[string]any)
	if !ok {
		return nil, errorAt(at, "a map by status is expected")
	}
	out := make(map[string][]Parameter, len(byStatus))
	for status, entry := range byStatus {
		holder, _ := entry.(map[string]any)
		list, ok := holder["ResponseParameters"].([]any)
		if !ok || len(holder) != 1 {
			return nil, errorAt(at+"."+status, "CloudFormation wants ResponseParameters: a list of Destination and Source")
		}
		for _, item := range list {
			p, _ := item.(map[string]any)
			destination, isText := p["Destination"].(string)
			source, isAlso := p["Source"].(string)
			if !isText || !isAlso {
				return nil, errorAt(at+"."+status, "an entry needs Destination and Source")
			}
			out[status] = append(out[status], Parameter{Destination: destination, Source: source})
		}
	}
	return out, nil
}

// permitted says whether a permission lets the API call the route's function.
func (l *loader) permitted(r Route) (bool, error) {
	ids, err := l.of(typePermission)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		var texts [4]string
		for i, name := range []string{"Action", "Principal", "FunctionName", "SourceArn"} {
			if texts[i], err = l.text(id, name); err != nil {
				return false, err
			}
		}
		function, err := l.functionOf("Resources."+id, texts[2])
		if err != nil {
			return false, err
		}
		if texts[0] == "lambda:InvokeFunction" && texts[1] == "apigateway.amazonaws.com" && function == r.Function &&
			(texts[3] == "" || l.sourceMatches(texts[3], r.Key)) {
			return true, nil
		}
	}
	return false, nil
}

// sourceMatches compares the permission's pattern with the ARN that API Gateway calls
// with: .../$default/GET/path, or .../$default/$default.
func (l *loader) sourceMatches(pattern, key string) bool {
	method, route, ok := strings.Cut(key, " ")
	rest := "$default"
	if ok {
		if method == "ANY" {
			method = "*"
		}
		rest = method + route
	}
	arn := "arn:aws:execute-api:" + l.pseudo["AWS::Region"] + ":" + l.pseudo["AWS::AccountId"] + ":" + l.stack.APIID + "/$default/" + rest
	// Here '*' spans slashes, which it does not for path.Match: hide them from it.
	flat := func(s string) string {
		return strings.NewReplacer("/", "\x01", "[", "\x02", "\\", "\x03").Replace(s)
	}
	matched, err := path.Match(flat(pattern), flat(arn))
	return err == nil && matched
}
