// Package compat has no code: its tests put middleware that services use around
// and inside of the cache. docs/mounting.md says where each belongs.
package compat
