//go:build linux

package main

// why says what was found about the bars that the committed run missed.
const why = ``
