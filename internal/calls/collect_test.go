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
	// step measures two steps of the sweep, a day after the garbage was made: the second one handles
	// the blobs whose shards of the queue the first one had read before.
	step := func(garbage func(g *rig)) func(*rig) func() {
		return func(r *rig) func() {
			g := newRig(t)
			garbage(g)
			g.late, g.calls = 25*time.Hour, calls{}
			reg := g.registry()
			return func() {
				for range 2 {
					if _, err := reg.Collect(t.Context(), 1000); err != nil {
						t.Fatal(err)
					}
				}
				r.calls = g.calls
			}
		}
	}
	idle := func(n int) func(*rig) {
		return func(g *rig) {
			for i := range n {
				g.post(fmt.Append(nil, "idle ", i))
			}
		}
	}
	return []operation{
		{"sweep, two steps: nothing is due", calls{32, 0}, step(func(*rig) {})},
		{"sweep, two steps: 50 layers that an image needs", calls{37, 0}, step(func(g *rig) { g.put("used", g.image(50)) })},
		{"sweep, two steps: 1 unused blob leaves its repository", calls{40, 0}, step(idle(1))},
		{"sweep, two steps: 20 unused blobs leave their repository", calls{116, 0}, step(idle(20))},
		{"sweep, two steps: a deleted image of 5 layers", calls{62, 0}, step(func(g *rig) {
			m := g.image(5)
			g.put("v1", m)
			g.do("DELETE", "/v2/a/manifests/"+string(oci.SHA256.FromBytes(m)), nil)
		})},
	}
}
