// Package storetest opens the store that a test runs on: the embedded one, or, with
// the build tag localstack, a bucket and a table of the test's own. It is for tests
// above the ports alone.
package storetest
