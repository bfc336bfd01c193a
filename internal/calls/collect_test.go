//go:build localstack

package calls_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// collectOperations are steps of the sweep. Each has a store of its own, as a sweep handles all
// garbage of the store.
func collectOperations(t *testing.T) []operation {
	t.Helper()
	// step measures a step of the sweep, a day after the garbage was made.
	step := func(garbage func(g *rig)) func(*rig) func() {
		return func(r *rig) func() {
			g := newRig(t)
			garbage(g)
			g.late, g.calls = 25*time.Hour, calls{}
			reg := g.registry()
			return func() {
				if _, err := reg.Collect(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
				r.calls = g.calls
			}
		}
	}
	idle := func(n int) func(*rig) {
		return func(g *rig) {
			for i := range n {
				g.post(fmt.Append(nil, "idle ", i, time.Now()))
			}
		}
	}
	return []operation{
		{"sweep: nothing is due", calls{16, 0}, step(func(*rig) {})},
		{"sweep: 50 layers that an image needs", calls{21, 0}, step(func(g *rig) { g.put("used", g.image(50)) })},
		{"sweep: 1 unused blob leaves its repository", calls{22, 0}, step(idle(1))},
		{"sweep: 20 unused blobs leave their repository", calls{64, 0}, step(idle(20))},
		{"sweep: a deleted image of 5 layers", calls{36, 0}, step(func(g *rig) {
			m := g.image(5)
			g.put("v1", m)
			g.do("DELETE", "/v2/a/manifests/"+string(oci.SHA256.FromBytes(m)), nil)
		})},
	}
}
