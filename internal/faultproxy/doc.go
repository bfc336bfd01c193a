// Package faultproxy is a proxy between the registry's AWS clients and an emulator of S3 and
// DynamoDB. It breaks chosen calls as AWS and networks do: it throttles, answers with errors, cuts
// connections, delays, truncates, repeats and reorders. It is for tests: the adapters run over the
// real SDK and real connections.
//
// It must not know the registry's rules, nor the meaning of rows and objects.
package faultproxy
