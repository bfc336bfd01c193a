package registry

// seeds returns the seeds of n runs of a simulation.
func seeds(n uint64) uint64 { return n / slow }
