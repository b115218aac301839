package middleware

import (
	"fmt"
	"strings"
	"sync"
)

// classes number what policies say of whose a response is. What one policy has
// stored does not answer for another that says otherwise, though both are
// mounted on one URL: two routes of it, or one whose configuration was loaded
// again. To look at the response once more is tempting; but what it was made of
// is not known any more.
type classes struct {
	mu sync.RWMutex
	by map[string]uint32 // guarded by mu; it has as many as there were different policies
}

// of returns the class of a policy with its defaults. That of the zero policy is 0.
func (c *classes) of(p *Policy) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		zero, _ := Policy{}.withDefaults(defaultMaxBodyBytes)
		c.by = map[string]uint32{sharingOf(&zero): 0}
	}
	said := sharingOf(p)
	n, known := c.by[said]
	if !known {
		n = uint32(len(c.by))
		c.by[said] = n
	}
	return n
}

// count returns how many classes there are, at least one.
func (c *classes) count() uint32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return max(1, uint32(len(c.by)))
}

// sharingOf returns all that a policy says of whose a response is, as a text that
// no other such saying has.
func sharingOf(p *Policy) string {
	var b strings.Builder
	for _, names := range [][]string{p.Headers, p.Credentials, p.TargetedFields} {
		fmt.Fprintf(&b, "%q\n", names)
	}
	fmt.Fprintf(&b, "%q", p.SetCookie)
	return b.String()
}
