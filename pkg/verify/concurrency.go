package verify

func concurrencyCases() []Case {
	return nil
}
