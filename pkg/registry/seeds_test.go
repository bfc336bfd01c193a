package registry

// seeds returns the seeds of n runs of a simulation.
func seeds(n uint64) uint64 { return n / slow }

// everywhere is the test of a caller who may pull all repositories.
func everywhere(string) bool { return true }
