package benchmarks

import "testing"

// What is measured must be what it says: Hits fails if an answer is no hit.
func TestTargets(t *testing.T) {
	targets, err := Hits(newCache(t, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		if n := testing.AllocsPerRun(100, target.Do); n > 1 {
			t.Errorf("%s: %v allocations a call", target.Name, n)
		}
	}
}
