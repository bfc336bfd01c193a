package verify_test

func brokenConcurrency() []broken {
	return nil
}
