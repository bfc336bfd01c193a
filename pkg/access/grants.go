package access

import (
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Limits of the grants of one token or rule.
const (
	// MaxPatterns is the number of patterns in all grants together.
	MaxPatterns = 64
	// maxPattern is the length of a pattern, in bytes: that of the longest repository name.
	maxPattern = 255
)

// Grant allows actions on repositories.
type Grant struct {
	// Repositories are patterns of repository names. "*" stands for any characters within one
	// component of a name, "**" for any characters: "team/**" is every repository below team.
	Repositories []string `json:"repositories"`
	// Actions are pull, push, delete and admin. Admin includes the other three, and allows to
	// manage tokens whose grants lie within this one.
	Actions []route.Action `json:"actions"`
}

// Grants are the permissions of a token: the union of what each grant allows.
type Grants []Grant

// everything is the grant of the administrator.
func everything() Grants { return Grants{{[]string{"**"}, []route.Action{route.Admin}}} }

// Actions lists the actions that a grant can have.
func Actions() []route.Action {
	return []route.Action{route.Pull, route.Push, route.Delete, route.Admin}
}

// Find returns the index of the first grant that allows the action on a repository, or -1. An
// empty name stands for the whole registry.
func (g Grants) Find(repository string, action route.Action) int {
	if repository == "" {
		repository = "**"
	}
	return slices.IndexFunc(g, func(grant Grant) bool { return grant.allows(repository, action) })
}

// Allow reports whether a grant allows the action on a repository, or on the whole registry if
// the name is empty.
func (g Grants) Allow(repository string, action route.Action) bool {
	return g.Find(repository, action) >= 0
}

// Manage reports whether the grants allow to manage any tokens.
func (g Grants) Manage() bool {
	return slices.ContainsFunc(g, func(grant Grant) bool { return slices.Contains(grant.Actions, route.Admin) })
}

// Cover reports whether each of the other grants lies within one grant with the action admin.
func (g Grants) Cover(others Grants) bool {
	for _, other := range others {
		for _, pattern := range other.Repositories {
			if !g.Allow(pattern, route.Admin) {
				return false
			}
		}
	}
	return true
}

// Check returns an *oci.Error for grants that are malformed or have too many patterns.
func (g Grants) Check() error {
	patterns := 0
	for _, grant := range g {
		if len(grant.Repositories) == 0 || len(grant.Actions) == 0 {
			return errInvalid("a grant needs repositories and actions")
		}
		for _, action := range grant.Actions {
			if !slices.Contains(Actions(), action) {
				return errInvalid("the action %q is not one of pull, push, delete and admin", action)
			}
		}
		for _, pattern := range grant.Repositories {
			if err := CheckPattern(pattern); err != nil {
				return err
			}
		}
		patterns += len(grant.Repositories)
	}
	if patterns > MaxPatterns {
		return errInvalid("the grants have %d patterns: at most %d are allowed", patterns, MaxPatterns)
	}
	return nil
}

func (g Grant) allows(repository string, action route.Action) bool {
	return (slices.Contains(g.Actions, action) || slices.Contains(g.Actions, route.Admin)) &&
		matchAny(g.Repositories, repository)
}

// CheckPattern returns an *oci.Error for a string that no repository name can match.
func CheckPattern(pattern string) error {
	// A name with "x" for each wildcard must be valid.
	name := strings.NewReplacer("**", "x", "*", "x").Replace(pattern)
	if len(pattern) > maxPattern || strings.Contains(pattern, "***") || oci.CheckName(name) != nil {
		return errInvalid("%q is not a pattern of repository names, such as team/app, team/* or team/**", pattern)
	}
	return nil
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Match(pattern, name) })
}

// Match reports whether a pattern matches a repository name. The name may be a pattern too: then
// Match reports whether every name that it matches is also matched by the first pattern.
func Match(pattern, name string) bool {
	literal := strings.IndexByte(pattern, '*')
	if literal < 0 {
		return pattern == name
	}
	if !strings.HasPrefix(name, pattern[:literal]) {
		return false
	}
	pattern, name = pattern[literal:], name[literal:]
	// reached[i] holds if the part of the pattern that was read matches name[:i].
	reached := make([]bool, len(name)+1)
	reached[0] = true
	for pattern != "" {
		var wild func(i int) bool // whether the wildcard takes name[i]
		switch {
		case strings.HasPrefix(pattern, "**"):
			wild, pattern = func(int) bool { return true }, pattern[2:]
		case pattern[0] == '*':
			wild, pattern = func(i int) bool { return name[i] != '/' && !deep(name, i) }, pattern[1:]
		default:
			literal := pattern[0]
			pattern = pattern[1:]
			for i := len(name); i > 0; i-- {
				reached[i] = reached[i-1] && name[i-1] == literal
			}
			reached[0] = false
			continue
		}
		for i := range len(name) {
			reached[i+1] = reached[i+1] || reached[i] && wild(i)
		}
	}
	return reached[len(name)]
}

// deep reports whether name[i] belongs to a "**".
func deep(name string, i int) bool {
	return name[i] == '*' && (i+1 < len(name) && name[i+1] == '*' || i > 0 && name[i-1] == '*')
}
