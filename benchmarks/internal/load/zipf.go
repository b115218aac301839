package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
)

// A Zipf draws ranks from 1 to n with probabilities that fall with rank^-s.
// math/rand's Zipf needs s > 1, but the requests of web caches have an s near
// or below 1 (Breslau et al., INFOCOM 1999). So this one keeps the whole
// distribution, 8 bytes a rank, and looks the draw up in it.
type Zipf struct {
	cumulated []float64 // of ranks 1 to i+1; the last is 1
}

// NewZipf returns the distribution over n ranks.
func NewZipf(s float64, n int) (*Zipf, error) {
	if n < 1 || !(s >= 0) {
		return nil, fmt.Errorf("load: Zipf with s=%v over %d ranks", s, n)
	}
	z := &Zipf{cumulated: make([]float64, n)}
	var sum float64
	for i := range z.cumulated {
		sum += math.Pow(float64(i+1), -s)
		z.cumulated[i] = sum
	}
	for i := range z.cumulated {
		z.cumulated[i] /= sum
	}
	z.cumulated[n-1] = 1
	return z, nil
}

// Draw returns a rank.
func (z *Zipf) Draw(r *rand.Rand) int {
	return sort.SearchFloat64s(z.cumulated, r.Float64()) + 1
}

// Probability returns that of a rank.
func (z *Zipf) Probability(rank int) float64 {
	if rank == 1 {
		return z.cumulated[0]
	}
	return z.cumulated[rank-1] - z.cumulated[rank-2]
}
