// Package inbound carries the deadline of an inbound request into work that
// was begun for it but does not end with it: a load or a run that others share
// has a context with a deadline of its own.
package inbound

import (
	"context"
	"time"
)

// Key is what a context carries the deadline under, a [time.Time]; zero means
// none. A context without cancellation answers to it by itself, so that the
// one it was made of need not be kept.
type Key struct{}

// Deadline returns the deadline that ctx carries, or its own if that is
// earlier.
func Deadline(ctx context.Context) (deadline time.Time, ok bool) {
	deadline, ok = ctx.Deadline()
	carried, _ := ctx.Value(Key{}).(time.Time)
	if !carried.IsZero() && (!ok || carried.Before(deadline)) {
		return carried, true
	}
	return deadline, ok
}

// Without returns ctx for work that no request waits for, such as a refresh:
// without cancellation, and without a deadline.
func Without(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), Key{}, time.Time{})
}
