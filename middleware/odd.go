package middleware

import "sync"

// odd knows the URLs under which something may be stored by another key than
// the ordinary one: spelled in another way, or by the rules of a route. It only
// grows, and when it is full it takes all URLs for odd.
type odd struct {
	mu   sync.RWMutex
	tags map[string]struct{} // guarded by mu
	full bool                // guarded by mu
}

// maxOdd bounds the URLs that are known: about a megabyte.
const maxOdd = 10_000

func (o *odd) note(tag string) {
	if o.has(tag) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.tags) >= maxOdd {
		o.full, o.tags = true, nil
		return
	}
	if o.tags == nil {
		o.tags = make(map[string]struct{})
	}
	o.tags[tag] = struct{}{}
}

func (o *odd) has(tag string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.full {
		return true
	}
	_, ok := o.tags[tag]
	return ok
}
