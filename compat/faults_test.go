package compat

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// A fault is a way in which an origin does not finish its page.
type fault struct {
	name  string
	serve http.HandlerFunc
}

var faults = []*fault{
	{"panic before the header", func(http.ResponseWriter, *http.Request) { panic("bug") }},
	{"panic in the middle", func(w http.ResponseWriter, r *http.Request) { half(w); panic("bug") }},
	{"panic after a flush", func(w http.ResponseWriter, r *http.Request) {
		half(w)
		_ = http.NewResponseController(w).Flush()
		panic("bug")
	}},
	{"abort", func(w http.ResponseWriter, r *http.Request) { half(w); panic(http.ErrAbortHandler) }},
	{"too short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		half(w)
	}},
	{"out of time", func(_ http.ResponseWriter, r *http.Request) { wait(r) }},
	{"out of time in the middle", func(w http.ResponseWriter, r *http.Request) { half(w); wait(r) }},
	{"deaf", func(w http.ResponseWriter, _ *http.Request) {
		half(w)
		time.Sleep(40 * time.Second)
		_, _ = w.Write([]byte(text))
	}},
}

// wait is until the request has no time left, or the origin no patience.
func wait(r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Second)
	defer cancel()
	<-ctx.Done()
}

// half begins a page.
func half(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=60, stale-while-revalidate=600")
	_, _ = w.Write([]byte(text[:len(text)/2]))
}

// runFault has the origin fail for a cold page and for a refresh. What breaks
// off must not look whole to anybody, unless the middleware makes it look so
// without the cache too; and it must be over when the origin is well again.
func (p *play) runFault(f *fault) []string {
	p.broken("cold", f, "alice bob")
	p.well("after cold", "alice bob")
	time.Sleep(90 * time.Second)
	p.broken("stale", f, "bob")
	p.well("after stale", "bob alice")
	return p.problems
}

func (p *play) broken(what string, f *fault, names string) {
	p.cached.origin.fault.Store(f)
	p.twin.origin.fault.Store(f)
	got := p.cached.ask(names, http.MethodGet, p.target)
	twin := p.twin.ask(names, http.MethodGet, p.target)
	time.Sleep(2 * time.Minute) // until every run is over
	p.cached.origin.fault.Store(nil)
	p.twin.origin.fault.Store(nil)
	for i, u := range p.cached.users(names) {
		if got[i].whole() && !p.complete(got[i]) && (!twin[i].whole() || p.complete(twin[i])) {
			p.say("%s: %s takes %d bytes for the whole; without the cache: %d, %v", what, u.name, len(got[i].body), twin[i].status, twin[i].err)
		}
		p.foreign(what, u, got[i])
	}
}

func (p *play) well(what, names string) {
	got := p.cached.ask(names, http.MethodGet, p.target)
	time.Sleep(2 * time.Second) // a refresh may have begun
	for i, u := range p.cached.users(names) {
		if !got[i].whole() || !p.complete(got[i]) {
			p.say("%s: the origin is well, and %s got %d, %d bytes, %v (%s)", what, u.name, got[i].status, len(got[i].body), got[i].err, got[i].header["Cache-Status"])
		}
		p.foreign(what, u, got[i])
	}
}

func (p *play) complete(a *answer) bool { return len(a.body) > len(text) }
