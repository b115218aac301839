//go:build !race

package compat

var ginRows []row
