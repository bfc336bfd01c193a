package template

import (
	"fmt"
	"maps"
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

// Keys of the OpenAPI document that API Gateway defines.
const (
	keyIntegration  = "x-amazon-apigateway-integration"
	keyIntegrations = "x-amazon-apigateway-integrations"
	keyAnyMethod    = "x-amazon-apigateway-any-method"
)

// routes reads the API's Body, an OpenAPI document, as API Gateway imports it. Keys that
// the import would not ignore, and the local cloud does not know, are errors.
func (l *loader) routes() error {
	at := "Resources." + l.apiID + ".Properties.Body"
	value, err := l.property(l.apiID, "Body")
	if err != nil {
		return err
	}
	body, err := object(at, value, "openapi", "info", "servers", "components", "paths")
	if err != nil {
		return err
	}
	if version := fmt.Sprint(body["openapi"]); !strings.HasPrefix(version, "3.0.") {
		return errorAt(at, "openapi is %s: the local cloud reads version 3.0", version)
	}
	components, _ := body["components"].(map[string]any)
	integrations, _ := components[keyIntegrations].(map[string]any)
	paths, _ := body["paths"].(map[string]any)
	for _, route := range slices.Sorted(maps.Keys(paths)) {
		item, _ := paths[route].(map[string]any)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			r, err := l.route(at+".paths."+route+"."+method, method, route, item[method], integrations)
			if err != nil {
				return err
			}
			l.stack.Routes = append(l.stack.Routes, r)
		}
	}
	if len(l.stack.Routes) == 0 {
		return errorAt(at, "there is no path with a method")
	}
	return nil
}

// object returns a map that has no other keys than those listed.
func object(at string, value any, keys ...string) (map[string]any, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, errorAt(at, "an object is expected")
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(keys, key) {
			return nil, errorAt(at, "the local cloud does not know %s here", key)
		}
	}
	return m, nil
}

func (l *loader) route(at, method, path string, value any, integrations map[string]any) (Route, error) {
	r := Route{}
	operation, err := object(at, value, keyIntegration, "isDefaultRoute", "responses", "operationId", "summary", "description")
	if err != nil {
		return r, err
	}
	if r.Key, err = routeKey(at, method, path, operation["isDefaultRoute"] == "true"); err != nil {
		return r, err
	}
	integration, _ := operation[keyIntegration].(map[string]any)
	if reference, ok := integration["$ref"].(string); ok {
		name, _ := strings.CutPrefix(reference, "#/components/"+keyIntegrations+"/")
		if integration, ok = integrations[name].(map[string]any); !ok {
			return r, errorAt(at, "there is no integration %s", reference)
		}
	}
	if err := l.integration(at, integration, &r); err != nil {
		return r, err
	}
	r.Permitted, err = l.permitted(r)
	if err == nil && !r.Permitted {
		l.stack.Warnings = append(l.stack.Warnings, fmt.Sprintf("no %s lets the API invoke %s for %q: it answers 500", typePermission, r.Function, r.Key))
	}
	return r, err
}

var validPath = regexp.MustCompile(`^/(?:[^/]+(?:/[^/]+)*)?$`)

// routeKey is the key of the route that API Gateway makes of a path and a method. It
// refuses the paths that API Gateway refuses, above all those that end in a slash.
func routeKey(at, method, path string, isDefault bool) (string, error) {
	switch {
	case method == keyAnyMethod:
		method = "ANY"
	case slices.Contains([]string{"get", "head", "post", "put", "patch", "delete", "options"}, method):
		method = strings.ToUpper(method)
	default:
		return "", errorAt(at, "%s is not a method", method)
	}
	if isDefault != (path == "/$default") || isDefault && method != "ANY" {
		return "", errorAt(at, "the default route is the path /$default with isDefaultRoute in its %s", keyAnyMethod)
	}
	if isDefault {
		return "$default", nil
	}
	if !validPath.MatchString(path) {
		return "", errorAt(at, "a path begins with a slash and does not end in one")
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		variable := strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}")
		switch {
		case !variable && strings.ContainsAny(segment, "{}"):
			return "", errorAt(at, "a variable is a whole segment")
		case variable && strings.HasSuffix(segment, "+}") && i != len(segments)-1:
			return "", errorAt(at, "a greedy variable can only be the last segment")
		}
	}
	return method + " " + path, nil
}

func (l *loader) integration(at string, value map[string]any, r *Route) error {
	at += "." + keyIntegration
	v, err := object(at, value, "type", "httpMethod", "payloadFormatVersion", "uri", "timeoutInMillis", "responseParameters")
	if err != nil {
		return err
	}
	for name, want := range map[string]string{"type": "AWS_PROXY", "httpMethod": "POST", "payloadFormatVersion": "2.0"} {
		if got := fmt.Sprint(v[name]); !strings.EqualFold(got, want) {
			return errorAt(at, "%s is %s: the local cloud knows %s", name, got, want)
		}
	}
	uri, isLambda := strings.CutPrefix(fmt.Sprint(v["uri"]), l.invocation)
	arn, invokes := strings.CutSuffix(uri, "/invocations")
	if !isLambda || !invokes {
		return errorAt(at, "uri is %v: API Gateway wants %s<function ARN>/invocations", v["uri"], l.invocation)
	}
	if r.Function, err = l.functionOf(at, arn); err != nil {
		return err
	}
	if r.TimeoutMillis, err = number(at+".timeoutInMillis", v["timeoutInMillis"], maxIntegrationTimeout); err != nil {
		return err
	}
	if r.TimeoutMillis < minIntegrationTimeout || r.TimeoutMillis > maxIntegrationTimeout {
		return errorAt(at, "timeoutInMillis is %d: %d to %d are allowed", r.TimeoutMillis, minIntegrationTimeout, maxIntegrationTimeout)
	}
	r.Mapping, err = mapping(at+".responseParameters", v["responseParameters"])
	return err
}

// mapping reads responseParameters: by status a source for each destination.
func mapping(at string, value any) (map[string]map[string]string, error) {
	if value == nil {
		return nil, nil
	}
	statuses, ok := value.(map[string]any)
	out := make(map[string]map[string]string, len(statuses))
	for status, parameters := range statuses {
		entries, isMap := parameters.(map[string]any)
		ok = ok && isMap
		out[status] = make(map[string]string, len(entries))
		for destination, source := range entries {
			text, isText := source.(string)
			ok = ok && isText
			out[status][destination] = text
		}
	}
	if !ok {
		return nil, errorAt(at, "a map of statuses is expected, each with a source for each destination")
	}
	return out, nil
}

// permitted reports whether a permission lets the API invoke the route's function.
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
	// An asterisk spans slashes here, but not for path.Match: replace them.
	flat := func(s string) string {
		return strings.NewReplacer("/", "\x01", "[", "\x02", "\\", "\x03").Replace(s)
	}
	matched, err := path.Match(flat(pattern), flat(arn))
	return err == nil && matched
}
