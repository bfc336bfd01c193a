// Package server answers the API over HTTP, with one file per family of endpoints and one
// function that writes errors. A handler turns a parsed request into one call of
// pkg/registry and the result into an answer; it decides nothing else.
//
// Each family has its own constructor, and only All and Families list them, so that a
// program that serves one family links no other.
//
// It must not know which storage is behind the registry, nor about Lambda.
package server
