// Package server answers the /v2/ API over HTTP: one file per family of routes,
// one function that writes errors. A handler turns a parsed request into one call
// of pkg/registry and the result into headers; it decides nothing else.
//
// Each family has a constructor of its own and nothing lists them but All, so
// that a program which serves one family links only that one.
//
// It must not know which storage is behind the registry, nor about Lambda.
package server
