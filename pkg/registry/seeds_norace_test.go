//go:build !race

package registry

const slow = 1
