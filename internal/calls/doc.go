// Package calls has no code besides its tests, the call budget: they count the AWS calls of
// each operation of the registry, compare them with their limits, and write docs/calls.md.
// They need the build tag localstack.
package calls
