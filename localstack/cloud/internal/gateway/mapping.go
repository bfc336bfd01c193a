package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

type mapping struct {
	action string // overwrite, append, remove
	header string
	from   string // name of a header of the function's response, or "" to use text
	text   string
}

// Headers that API Gateway does not map.
var (
	reserved = []string{
		"authorization", "connection", "content-encoding", "content-length", "content-location", "forwarded", "keep-alive",
		"origin", "proxy-authenticate", "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade", "via",
	}
	reservedPrefixes = []string{"access-control-", "apigw-", "x-amz-", "x-amzn-", "x-forwarded-"}
)

func compileMappings(all map[string]map[string]string) (map[string][]mapping, error) {
	out := make(map[string][]mapping, len(all))
	for status, parameters := range all {
		if n, err := strconv.Atoi(status); err != nil || n < 200 || n > 599 {
			return nil, fmt.Errorf("response parameters are by status, 200 to 599, not %q", status)
		}
		for _, destination := range slices.Sorted(maps.Keys(parameters)) {
			m, err := compileMapping(destination, parameters[destination])
			if err != nil {
				return nil, err
			}
			out[status] = append(out[status], m)
		}
	}
	return out, nil
}

func compileMapping(destination, source string) (mapping, error) {
	action, rest, _ := strings.Cut(destination, ":")
	header, ok := strings.CutPrefix(rest, "header.")
	if !ok || !slices.Contains([]string{"overwrite", "append", "remove"}, action) {
		return mapping{}, fmt.Errorf("the destination %q is not known to the local cloud", destination)
	}
	lower := strings.ToLower(header)
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(lower, prefix) }
	if slices.Contains(reserved, lower) || slices.ContainsFunc(reservedPrefixes, hasPrefix) {
		return mapping{}, fmt.Errorf("API Gateway refuses to map the header %s", header)
	}
	m := mapping{action: action, header: header, text: source}
	if from, ok := strings.CutPrefix(source, "$response.header."); ok {
		m.from, m.text = from, ""
	} else if strings.Contains(source, "$") {
		return mapping{}, fmt.Errorf("the source %q is not known to the local cloud", source)
	}
	return m, nil
}

// apply applies the mappings of the response's status. Each reads the function's
// response, not the result of another mapping; one whose header is missing is skipped.
func apply(all map[string][]mapping, out response) response {
	list := all[strconv.Itoa(out.status)]
	if len(list) == 0 {
		return out
	}
	header := out.header.Clone()
	for _, m := range list {
		value := m.text
		if m.from != "" {
			value = strings.Join(out.header.Values(m.from), ",")
		}
		switch {
		case m.action == "remove":
			header.Del(m.header)
		case value == "":
		case m.action == "append" && header.Get(m.header) != "":
			header.Set(m.header, strings.Join(header.Values(m.header), ",")+","+value)
		default:
			header.Set(m.header, value)
		}
	}
	return response{status: out.status, body: out.body, header: header}
}
