package metrics

// A Store is what the store behind a cache has to tell, whatever it holds.
type Store struct {
	Bytes, WindowBytes, MaxBytes, Entries int64
	Evictions, Refusals, RefreshSkips     uint64
}

// Store adds the families that both caches have.
func (g *Group) Store(read func() Store) {
	Add(g, read, []Family[Store]{
		GaugeOf("freshet_bytes", "Bytes held, as counted against the budget.", func(s Store) int64 { return s.Bytes }),
		GaugeOf("freshet_window_bytes", "Of freshet_bytes, those being filled or in the admission window.", func(s Store) int64 { return s.WindowBytes }),
		GaugeOf("freshet_max_bytes", "The budget in bytes.", func(s Store) int64 { return s.MaxBytes }),
		GaugeOf("freshet_entries", "Entries held.", func(s Store) int64 { return s.Entries }),
		CounterOf("freshet_evictions_total", "Entries that made room for others.", func(s Store) uint64 { return s.Evictions }),
		CounterOf("freshet_refusals_total", "Verdicts of the store's admission policy against a new entry.", func(s Store) uint64 { return s.Refusals }),
		CounterOf("freshet_refresh_skips_total", "Refreshes left out because all workers were busy.", func(s Store) uint64 { return s.RefreshSkips }),
	})
}

// A Family is one whose only series is read from some counts S.
type Family[S any] struct {
	name, help string
	kind       Kind
	value      func(S) float64
}

// CounterOf returns a family that counts up.
func CounterOf[S any](name, help string, value func(S) uint64) Family[S] {
	return Family[S]{name, help, KindCounter, func(s S) float64 { return float64(value(s)) }}
}

// GaugeOf returns a family that goes up and down.
func GaugeOf[S any](name, help string, value func(S) int64) Family[S] {
	return Family[S]{name, help, KindGauge, func(s S) float64 { return float64(value(s)) }}
}

// Add adds families to g whose counts read returns.
func Add[S any](g *Group, read func() S, families []Family[S]) {
	for _, f := range families {
		g.Func(f.name, f.help, f.kind, func() float64 { return f.value(read()) })
	}
}
