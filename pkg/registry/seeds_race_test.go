//go:build race

package registry

// slow is by how much the race detector cuts the number of seeds. The simulation runs one goroutine at a time, so more
// seeds show the detector nothing new; "make test" runs all of them.
const slow = 8
