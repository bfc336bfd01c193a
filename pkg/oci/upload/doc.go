// Package upload holds the rules of blob uploads that do not depend on where the bytes are
// kept: the headers of a request, running hashes, the checks of offset, length, size and
// digest, and the errors for clients. The registry and its proxy share them.
//
// It must not know stores, sessions or how an error becomes an HTTP answer.
package upload
