package middleware

import "sync"

// classes number what policies say of whose a response is. What one policy has
// stored does not answer for another that says otherwise, though both are
// mounted on one URL: two routes of it, or one whose configuration was loaded
// again. To look at the response once more is tempting; but what it was made of
// is not known any more.
type classes struct {
	mu sync.RWMutex
	by map[string]uint32 // guarded by mu; it has as many as there were different policies
}

// of returns the class of what a policy says. That of the first is 0.
func (c *classes) of(said string) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, known := c.by[said]
	if !known {
		if c.by == nil {
			c.by = make(map[string]uint32)
		}
		n = uint32(len(c.by))
		c.by[said] = n
	}
	return n
}

// count returns how many classes there are.
func (c *classes) count() uint32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return uint32(len(c.by))
}
