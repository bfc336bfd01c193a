package route_test

import (
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// gatewayPick selects a route as API Gateway does: of the routes that match, the one with
// the longest beginning in fixed text and variables, fixed text first.
func gatewayPick(routes []route.GatewayRoute, path string) route.GatewayRoute {
	var best route.GatewayRoute
	rank := ""
	for _, r := range routes {
		if got, matches := gatewayRank(r.Key, path); matches && got > rank {
			best, rank = r, got
		}
	}
	return best
}

// gatewayRank compares as text: per segment 3 for fixed text, 2 for a variable, 1 for
// the rest of the path; full matches come before greedy ones, $default last.
func gatewayRank(key, path string) (rank string, matches bool) {
	if key == "$default" {
		return "0", true
	}
	_, pattern, _ := strings.Cut(key, " ")
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	full := "2"
	for i, w := range want {
		switch {
		case strings.HasSuffix(w, "+}"):
			return "1" + rank + "1", len(have) > i
		case i >= len(have):
			return "", false
		case strings.HasPrefix(w, "{") && have[i] != "":
			rank += "2"
		case w == have[i]:
			rank += "3"
		default:
			return "", false
		}
	}
	return full + rank, len(want) == len(have)
}

// TestGatewayAgreesWithParse: for every endpoint and number of components, and with names
// made of the words of the grammar, the gateway selects the function of the path's family.
func TestGatewayAgreesWithParse(t *testing.T) {
	words := []string{"a", "blobs", "uploads", "manifests", "tags", "list", "referrers", "v2", "parts", "verifications"}
	var names []string
	for depth, tails := 1, []string{""}; depth <= 3; depth++ {
		var longer []string
		for _, tail := range tails {
			for _, w := range words {
				longer = append(longer, strings.TrimPrefix(tail+"/"+w, "/"))
			}
		}
		names, tails = append(names, longer...), longer
	}
	for depth := 4; depth <= route.MaxComponents; depth++ {
		names = append(names, strings.TrimPrefix(strings.Repeat("/x", depth), "/"))
	}
	odd := []route.Request{
		{Kind: route.Manifest, Reference: oci.Reference{Tag: "list"}},
		{Kind: route.Manifest, Reference: oci.Reference{Tag: "uploads"}},
		{Kind: route.Manifest, Reference: oci.Reference{Tag: "_pierless"}},
		{Kind: route.Manifest, Reference: oci.Reference{Digest: dgst}},
		{Kind: route.Direct, Upload: "uploads"},
	}
	var byTable []route.Request
	for _, e := range route.Endpoints() {
		if r := request(e); r.Name != "" {
			byTable = append(byTable, r)
		}
	}
	routes := route.GatewayRoutes()
	for _, name := range names {
		for _, r := range append(odd, byTable...) {
			r.Name = name
			got := gatewayPick(routes, r.Path())
			if got.Family == r.Kind.Family() {
				continue
			}
			t.Errorf("%s goes to %s by the route %s, want %s", r.Path(), got.Family, got.Key, r.Kind.Family())
		}
	}
}

func TestGatewayLeavesTheRestToBase(t *testing.T) {
	deep := strings.TrimPrefix(strings.Repeat("/x", route.MaxComponents+1), "/")
	for _, path := range []string{
		"/v2", "/v2/", "/v2/_catalog", "/v2/_pierless/token", "/", "/v2/a", "/v2/" + deep + "/tags/list", "/v2/a/manifests/",
		"/v2/a/_pierless", "/v2/_pierless/uploads", "/v2/a/_pierless/uploads/", "/v2/a/_pierless/parts", "/v2/a/_pierless/verifications",
		"/v2/a/_pierless/parts/", "/v2/a/_pierless/verifications/", "/v2/a/_pierless/other/x", "/v2/" + deep + "/_pierless/uploads",
	} {
		if got := gatewayPick(route.GatewayRoutes(), path); got.Family != route.FamilyBase {
			t.Errorf("%s goes to %s", path, got.Key)
		}
	}
}

func TestGatewayRoutesFitTheQuota(t *testing.T) {
	routes := route.GatewayRoutes()
	keys := map[string]bool{}
	for _, r := range routes {
		if keys[r.Key] {
			t.Errorf("twice: %s", r.Key)
		}
		keys[r.Key] = true
		if strings.HasSuffix(r.Key, "/") {
			t.Errorf("%s ends in a slash, which the gateway refuses", r.Key)
		}
	}
	const quota = 300 // routes per API, without asking AWS for more
	if len(routes) > quota {
		t.Errorf("%d routes, the quota is %d", len(routes), quota)
	}
}
