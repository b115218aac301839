package inbound

import (
	"context"
	"testing"
	"time"
)

func TestDeadline(t *testing.T) {
	soon, later := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	with := func(ctx context.Context, own time.Time) context.Context {
		ctx, cancel := context.WithDeadline(ctx, own)
		t.Cleanup(cancel)
		return ctx
	}
	carries := func(d time.Time) context.Context { return context.WithValue(t.Context(), Key{}, d) }
	for name, tt := range map[string]struct {
		ctx  context.Context
		want time.Time
	}{
		"none":              {t.Context(), time.Time{}},
		"its own":           {with(t.Context(), soon), soon},
		"carried":           {carries(soon), soon},
		"carried is sooner": {with(carries(soon), later), soon},
		"own is sooner":     {with(carries(later), soon), soon},
		"left behind":       {Without(with(carries(soon), later)), time.Time{}},
	} {
		if got, ok := Deadline(tt.ctx); !got.Equal(tt.want) || ok == tt.want.IsZero() {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}
