package main

import "testing"

func TestSize(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var s size
		if err := s.Set(text); err != nil || s.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, s.String(), err, want)
		}
	}
	f("256MiB", "256MiB")
	f("2048KiB", "2MiB")
	f("3GiB", "3GiB")
	f("1KB", "1000")
	f("1536", "1536")
}
