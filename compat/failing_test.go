package compat

import "slices"

// A failure is what is wrong with a row in some places.
type failure struct {
	row     string
	at      []place
	faults  []string // that show it; none: the play without a fault does
	problem string   // matches all that the engine says
	because string
}

func failing(table []failure, name string, at place, f *fault) bool {
	return slices.ContainsFunc(table, func(k failure) bool {
		return k.row == name && slices.Contains(k.at, at) &&
			(f == nil && k.faults == nil || f != nil && slices.Contains(k.faults, f.name))
	})
}

const tooLate = "the origin is well"

var panics = []string{"panic in the middle", "panic after a flush"}

const (
	swallowed   = "nothing tells that the body broke off: it ends as any other"
	lengthLost  = "an encoder takes away the Content-Length by which a short body is told"
	onMisses    = "it is asked on misses only"
	firstWins   = "it names Accept-Encoding in Vary only where it encodes: after a plain response all get that"
	hides       = "TimeoutHandler has a header of its own: the cache does not see the Set-Cookie and Vary set outside of it"
	hidesCoding = "it takes Accept-Encoding away from the request: nothing tells the Transport that the part will be encoded"
	perRequest  = "what it makes for one request is stored for all"
)

// misplaced is what cannot work, since the cache sees nothing of it.
var misplaced = []failure{
	{row: "chi Compress", at: []place{inside, upstream}, problem: "Content-Encoding|Vary|not shared", because: firstWins},
	{row: "echo RequestID", at: []place{inside, upstream}, problem: "got the X-Request-Id of", because: perRequest},
	{row: "httprate", at: []place{inside, upstream}, problem: "X-Ratelimit", because: perRequest},
	{row: "httprate, limit reached", at: []place{inside, upstream}, problem: "^part|X-Ratelimit|got 200|Retry-After|Content-Type|Etag|Cache-Control|X-Content", because: onMisses},
	{row: "chi BasicAuth, bob has none", at: []place{inside, upstream}, problem: "bob|^together", because: onMisses},

	{row: "gorilla CompressHandler", at: []place{around}, problem: "^part: ", because: hidesCoding},
	{row: "nosurf, then TimeoutHandler", at: []place{outside}, problem: "token in the page|not shared", because: hides},

	{row: "chi Recoverer", at: []place{upstream}, faults: panics, problem: tooLate, because: swallowed},
	{row: "gorilla RecoveryHandler", at: []place{upstream}, faults: append([]string{"abort"}, panics...), problem: tooLate, because: swallowed},
	{row: "chi Timeout", at: []place{upstream}, faults: []string{"out of time in the middle"}, problem: tooLate, because: swallowed},
	{row: "echo Recover", at: []place{inside, upstream}, faults: panics, problem: tooLate, because: swallowed},
	{row: "echo ContextTimeout", at: []place{inside, upstream}, faults: []string{"out of time in the middle"}, problem: tooLate, because: swallowed},
	{row: "gin Recovery", at: []place{inside, upstream}, faults: append([]string{"abort"}, panics...), problem: tooLate, because: swallowed},
	{row: "chi Compress", at: []place{inside, upstream}, faults: []string{"too short"}, problem: tooLate, because: lengthLost},
	{row: "gzhttp", at: []place{inside, upstream}, faults: []string{"too short"}, problem: tooLate, because: lengthLost},
	{row: "gorilla CompressHandler", at: []place{inside, upstream}, faults: []string{"too short"}, problem: tooLate, because: lengthLost},
	{row: "echo around", at: []place{inside, upstream}, faults: []string{"too short"}, problem: tooLate, because: lengthLost},
}
