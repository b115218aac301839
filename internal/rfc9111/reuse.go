package rfc9111

import "time"

// A Use is what the directives of a request say about a stored response that
// could answer it (5.2.1).
type Use uint8

// The uses, the more permissive first.
const (
	UseAnyway    Use = iota // fresh, or stale in a way that the client accepts
	UseByState              // nothing: the response's own state decides
	UseValidated            // only if the origin confirms it
)

// Reuse compares the directives of a request with a stored response of this
// age and freshness lifetime. The parameter forbidden says that the response
// must not be used stale ([StaleForbidden]): a client cannot lift that.
//
// A no-store does not keep a client from what is stored already (5.2.1.5).
func Reuse(request CacheControl, age, lifetime time.Duration, forbidden bool) Use {
	fresh := lifetime > age
	switch {
	case request.NoCache, // 5.2.1.4
		request.MaxAge.Set && age > request.MaxAge.D,              // 5.2.1.1
		request.MinFresh.Set && lifetime-age < request.MinFresh.D: // 5.2.1.3
		return UseValidated
	case fresh:
		return UseAnyway
	case request.MaxStale.Set: // 5.2.1.2
		if !forbidden && age-lifetime <= request.MaxStale.D {
			return UseAnyway
		}
		return UseValidated
	case request.MaxAge.Set, request.MinFresh.Set:
		// Without max-stale the client does not want what is stale.
		return UseValidated
	}
	return UseByState
}
