package access_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"team/app", "team/app", true},
		{"team/app", "team/app2", false},
		{"team/app", "team", false},
		{"team/*", "team/app", true},
		{"team/*", "team", false},
		{"team/*", "team/app/web", false},
		{"team/*", "teams/app", false},
		{"team/**", "team/app", true},
		{"team/**", "team/app/web/x", true},
		{"team/**", "team", false},
		{"team/**", "teamx/app", false},
		{"team**", "team", true},
		{"team**", "team/app", true},
		{"team**", "teamx/app", true},
		{"*", "app", true},
		{"*", "team/app", false},
		{"**", "team/app", true},
		{"*/app", "team/app", true},
		{"*/app", "a/b/app", false},
		{"**/app", "a/b/app", true},
		{"**/app", "app", false},
		{"a*z", "az", true},
		{"a*z", "abcz", true},
		{"a*z", "ab/cz", false},
		{"a**z", "ab/cz", true},
		{"a*b*c", "axbxbxc", true},
		{"a*b*c", "axbxbx", false},
		{"team/app-*", "team/app-1.2", true},
		{"team/app.1", "team/appx1", false}, // not a regular expression
		{"*a*a*a*a*", strings.Repeat("a", 200) + "/b", false},

		// Names that are patterns.
		{"team/**", "team/*", true},
		{"team/**", "team/**", true},
		{"team/**", "team/x/**", true},
		{"team/**", "team/a*b/**/c", true},
		{"team/*", "team/*", true},
		{"team/*", "team/a*", true},
		{"team/*", "team/**", false},
		{"team/*", "team/a**", false},
		{"team/*", "team/*/x", false},
		{"**", "**", true},
		{"*", "**", false},
		{"**/*", "**", false},
		{"*/**", "**", false},
		{"team/**", "team**", false},
		{"team/**", "**", false},
		{"team/**", "t*/**", false},
		{"team/app", "team/*", false},
	} {
		if got := access.Match(c.pattern, c.name); got != c.want {
			t.Errorf("%s matches %s: %v", c.pattern, c.name, got)
		}
	}
}

// TestMatchOracle compares Match with regular expressions: on names, and on patterns, of which
// each name that the second one matches must be matched by the first one.
func TestMatchOracle(t *testing.T) {
	names := []string{""}
	for at := 0; len(names[at]) < 5; at++ {
		names = append(names, names[at]+"a", names[at]+"b", names[at]+"/")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	pattern := func() string {
		parts := []string{"a", "b", "/", "a", "/", "*", "**"}
		var b strings.Builder
		for range 1 + rnd.IntN(5) {
			b.WriteString(parts[rnd.IntN(len(parts))])
		}
		return b.String()
	}
	contained := 0
	for range 3000 {
		p, q := pattern(), pattern()
		if strings.Contains(p+" "+q, "***") {
			continue // CheckPattern refuses it
		}
		within, first, second := true, oracle(p), oracle(q)
		for _, name := range names {
			want := first.MatchString(name)
			if got := access.Match(p, name); got != want {
				t.Fatalf("%s matches %q: %v", p, name, got)
			}
			within = within && (want || !second.MatchString(name))
		}
		if access.Match(p, q) {
			if contained++; !within {
				t.Fatalf("%s contains %s, but not every name that it matches", p, q)
			}
		}
	}
	if contained < 100 {
		t.Errorf("only %d pairs of patterns contain each other: the test says little", contained)
	}
}

func oracle(pattern string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.NewReplacer("**", ".*", "*", "[^/]*").Replace(pattern) + "$")
}

func grants(pattern string, actions ...route.Action) access.Grants {
	return access.Grants{{Repositories: []string{pattern}, Actions: actions}}
}

func TestAllow(t *testing.T) {
	for _, c := range []struct {
		grants     access.Grants
		repository string
		allowed    string // actions
	}{
		{nil, "a", ""},
		{grants("a", route.Pull), "a", "pull"},
		{grants("a", route.Pull), "b", ""},
		{grants("a", route.Push), "a", "push"},
		{grants("a", route.Delete), "a", "delete"},
		{grants("a", route.Admin), "a", "pull push delete admin"},
		{grants("a", route.Admin), "a/b", ""},
		{append(grants("a/*", route.Pull), grants("a/b", route.Delete)...), "a/b", "pull delete"},
		{append(grants("a/*", route.Pull), grants("a/b", route.Delete)...), "a/c", "pull"},
		// The whole registry.
		{grants("**", route.Pull), "", "pull"},
		{grants("**", route.Admin), "", "pull push delete admin"},
		{grants("*/**", route.Admin), "", ""},
		{append(grants("*", route.Admin), grants("*/**", route.Admin)...), "", ""},
	} {
		for _, action := range access.Actions() {
			want := strings.Contains(" "+c.allowed+" ", " "+string(action)+" ")
			if got := c.grants.Allow(c.repository, action); got != want {
				t.Errorf("%v on %q: %s %v", c.grants, c.repository, action, got)
			}
		}
	}
	for _, action := range []route.Action{route.Pull, route.Push, route.Delete} {
		if grants("**", action).Manage() {
			t.Errorf("%s manages tokens", action)
		}
	}
	if !append(grants("a", route.Pull), grants("b", route.Admin)...).Manage() {
		t.Error("admin does not manage tokens")
	}
}

func TestCover(t *testing.T) {
	team := append(grants("team/**", route.Admin), grants("**", route.Pull, route.Push)...)
	for pattern, want := range map[string]bool{
		"team/app": true, "team/*": true, "team/**": true, "team/x/**": true,
		"team": false, "**": false, "*": false, "team**": false, "other/app": false, "*/app": false,
	} {
		for _, action := range access.Actions() {
			if got := team.Cover(grants(pattern, action)); got != want {
				t.Errorf("an administrator of team/** may manage %s on %s: %v", action, pattern, got)
			}
		}
		if team.Cover(append(grants("team/app", route.Pull), grants(pattern, route.Pull)...)) != want {
			t.Errorf("%s as a second grant: %v", pattern, !want)
		}
		if team.Cover(access.Grants{{Repositories: []string{"team/app", pattern}, Actions: []route.Action{route.Pull}}}) != want {
			t.Errorf("%s as a second pattern: %v", pattern, !want)
		}
	}
}

func TestGrantsCheck(t *testing.T) {
	many := func(n int) access.Grants {
		g := grants("a", route.Pull)
		for range n - 1 {
			g[0].Repositories = append(g[0].Repositories, "a")
		}
		return g
	}
	two := append(many(access.MaxPatterns-1), many(1)...)
	long := strings.Repeat("a", 255)
	for _, good := range []access.Grants{
		nil, grants("**", route.Admin), grants("a*/b**/c_d-e.f", access.Actions()...), many(access.MaxPatterns), two, grants(long, route.Pull),
	} {
		if err := good.Check(); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []access.Grants{
		grants("a"),
		{{Actions: []route.Action{route.Pull}}},
		grants("a", "read"), grants("a", route.Manage), grants("a", ""), grants("a", route.Caller),
		grants("", route.Pull), grants("A", route.Pull), grants("/a", route.Pull), grants("a/", route.Pull), grants("a//b", route.Pull),
		grants("***", route.Pull), grants("a/****", route.Pull), grants("a?", route.Pull), grants("a b", route.Pull), grants("a\x00", route.Pull),
		grants("../a", route.Pull), grants(long+"a", route.Pull), grants("host:5000/a", route.Pull), grants("a#b", route.Pull),
		many(access.MaxPatterns + 1), append(two, many(1)...),
	} {
		if err := bad.Check(); !errors.Is(err, &oci.Error{Code: oci.AccessInvalid}) {
			t.Errorf("%.80v: %v", bad, err)
		}
	}
}
