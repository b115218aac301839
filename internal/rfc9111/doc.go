// Package rfc9111 holds the rules of HTTP caching as pure functions over
// header fields: what a shared cache may store, how long it is fresh, which
// requests it matches, when a client's copy is still good, and what a
// successful write invalidates.
//
// Nothing here does I/O, reads a clock, locks or logs. Times are parameters
// and so are the choices that the RFCs leave to a cache, which makes every
// rule a line in a table test. References are to RFC 9111 (HTTP caching)
// unless they name RFC 9110 (HTTP semantics) or another document.
//
// Every rule fails towards the origin: what cannot be read with certainty is
// not stored, not fresh, or does not match. That costs a request. The other
// direction costs somebody's privacy.
//
// All functions expect canonical field names as map keys, as net/http makes
// them. [Canonicalise] repairs a header that was filled in by other means.
package rfc9111
