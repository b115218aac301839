package level2

import (
	"context"
	"errors"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend"
)

// work makes queued changes until the queue is closed and empty.
func (l *Level[V]) work() {
	for o := l.queue.take(); o != nil; o = l.queue.take() {
		l.make(o)
	}
}

// make makes one change, now or, if it fails, later, or gives it up.
func (l *Level[V]) make(o *op[V]) {
	for l.await() {
		o = l.queue.newest(o)
		switch err := l.apply(o); {
		case err == nil:
			if o.final {
				l.lookLater(o.key, o.hash, o.bound)
			}
			l.queue.finish(o, false)
			return
		case !errors.Is(err, errBreakerOpen): // else another worker makes the probe
			l.failed(o)
			return
		}
	}
	l.giveUp(o)
}

// await waits until the breaker lets calls through. While closing it does not
// wait, and reports whether it need not.
func (l *Level[V]) await() bool {
	for {
		if l.ctx.Err() != nil {
			return false
		}
		d := l.calls.writing.wait(time.Now())
		if d == 0 {
			return true
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-l.closing:
			timer.Stop()
			return false
		}
	}
}

// apply makes the change, sends its message, and gives back its lease.
func (l *Level[V]) apply(o *op[V]) error {
	if !o.made {
		if err := l.change(o); err != nil {
			return err
		}
		o.made = true
	}
	if o.tell.Kind != purgeNone {
		message := appendMessage(nil, l.cfg.Prefix, o.tell)
		if err := l.call(func(ctx context.Context) error { return l.invalidations.Publish(ctx, message) }); err != nil {
			return err
		}
	}
	if c := o.claim; c.token != "" {
		// Once: if it fails, the lease ends by itself.
		_ = l.call(func(ctx context.Context) error { return l.leases.Release(ctx, c.key, c.token) })
	}
	return nil
}

func (l *Level[V]) change(o *op[V]) error {
	switch {
	case o.kind == opNote:
		return nil
	case o.kind == opMark:
		return l.setMark(o)
	case o.record == nil:
		return l.delete(o)
	}
	r, now := o.record, time.Now().UnixNano()
	key := o.key[len(l.cfg.Prefix)+len(valueName):]
	ttl := min(time.Duration(r.horizon()-now), MaxTTL)
	data, err := l.seal(key, r)
	if err != nil || ttl <= 0 || len(r.Tags) > maxMarks || now-r.Stamp.At > int64(maxValueAge) || l.purgedOwn(key, r) {
		l.queue.forgetRecord(o)
		return l.delete(o)
	}
	if o.final && l.versions != nil { // what is there may have a version of a clock that is far ahead
		if err := l.delete(o); err != nil {
			return err
		}
	}
	return l.set(o, data, ttl)
}

// setMark writes a mark, unless there is a newer one, which covers it.
func (l *Level[V]) setMark(o *op[V]) error {
	data, err := sealMark(o.key, o.stamp)
	if err != nil {
		return err
	}
	if l.versions == nil {
		there, err := l.storedMark(o.key)
		if err != nil {
			return err
		}
		if there.At >= o.stamp.At {
			return nil
		}
	}
	return l.set(o, data, markTTL)
}

// storedMark returns the stamp of the mark under name, the zero stamp if there
// is none that can be read.
func (l *Level[V]) storedMark(name string) (Stamp, error) {
	var data []byte
	err := l.call(func(ctx context.Context) (err error) {
		data, err = l.cfg.Backend.Get(ctx, name)
		return err
	})
	if err != nil && !errors.Is(err, backend.ErrMiss) {
		return Stamp{}, err
	}
	if e, bad := parseEnvelope(data); err == nil && bad == nil && e.key == name {
		return e.stamp, nil
	}
	return Stamp{}, nil
}

func (l *Level[V]) set(o *op[V], data []byte, ttl time.Duration) error {
	return l.call(func(ctx context.Context) error {
		if l.versions != nil {
			return l.versions.SetVersion(ctx, o.key, data, ttl, o.version())
		}
		return l.cfg.Backend.Set(ctx, o.key, data, ttl)
	})
}

func (l *Level[V]) delete(o *op[V]) error {
	return l.call(func(ctx context.Context) error {
		if l.versions != nil {
			return l.versions.DeleteVersion(ctx, o.key, o.version())
		}
		return l.cfg.Backend.Delete(ctx, o.key)
	})
}

func (l *Level[V]) call(f func(context.Context) error) error { return l.calls.write(l.ctx, f) }

// failed has o made again later. A value is not written again: it would come
// late. It is removed instead, so that the backend does not go on with the one
// before it. That way a backend that comes back after an outage loses the keys
// that were written meanwhile.
func (l *Level[V]) failed(o *op[V]) {
	if !o.made && o.record != nil {
		l.queue.forgetRecord(o)
	}
	if o.attempts++; o.attempts >= maxAttempts || l.ctx.Err() != nil {
		l.giveUp(o)
		return
	}
	l.queue.retry(o, firstRetry<<(o.attempts-1))
}

// giveUp drops o, which a worker holds.
func (l *Level[V]) giveUp(o *op[V]) {
	l.lose(o)
	l.queue.finish(o, true)
}
