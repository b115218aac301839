// Package wrong does not compile.
package wrong

var _ = missing
