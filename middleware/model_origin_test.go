package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bodyLimit is Policy.MaxBodyBytes. Some bodies are as large, some larger.
const bodyLimit = 4096

// A run is one run of the origin.
type run struct {
	id     int
	op     *op // of the request that it was begun for
	method string
	query  string
	who    who // as the origin sees it
	script script
	place  int

	direct  bool  // of a Handler: it writes to its client, and nobody else can have that
	version int64 // of the place, when it began
	rep     *rep  // what it sends, or would if it were not HEAD or a 304
	status  int   // sent, 0 = none

	began, header, ended time.Time // guarded by world.mu
	large                time.Time // guarded by world.mu; when it had written more than is kept
	returns              chan struct{}

	// How it ended otherwise than by its script; guarded by world.mu.
	late  bool // its context was over its deadline, or the cache was closed
	whole bool // all of it was written
}

// A script is what the origin does in a run.
type script struct {
	status  int
	control control
	sets    bool // Cache-Control in place of what was set outside
	vary    []string

	cookie, interim, trailer, flushes, flushFirst bool

	declares string // Content-Length: "right", "wrong" or ""
	delay    time.Duration
	between  time.Duration // parts of the body
	end      string        // how it goes wrong: "", "abort", "panic", "goexit", "hang"
	cutAt    int           // after so many lines of the body, -1 before the header
	heeds    string        // what it does when its context ends: "silent", "abort", "error", or "" if it does not notice
	writes   bool          // after it has returned
}

// bad reports whether a run of the script ends badly by itself. One that hangs
// over its body does not: it goes on as long as it is read.
func (s *script) bad() bool {
	return s.declares == "wrong" || s.end != "" && (s.end != "hang" || s.cutAt < 0)
}

func (h *plan) scriptFor(o *op, n int, method string) script {
	d, p := diceOf(h.seed, o.id, n, 7), h.places[o.place]
	s := script{status: 200, control: p.control, sets: d.one(3), vary: p.vary, declares: pick(d, "right", "")}
	s.delay = pick(d, 0, time.Millisecond, time.Millisecond+d.upTo(h.pace.span/20), time.Millisecond+d.upTo(h.pace.span/10))
	if d.one(2) {
		s.between = d.upTo(h.pace.span / 100)
	}
	s.flushes = d.one(3)
	s.heeds = pick(d, "silent", "abort", "error", "")
	s.writes = method == http.MethodGet && d.one(4)
	if p.script == "calm" {
		return s
	}
	s.interim, s.cookie = d.one(5), d.one(12)
	switch p.script {
	case "plain":
		return s
	case "failing":
		s.status, s.control, s.cookie = pick(d, 500, 503, 503, 200), control{}, false
		return s
	}
	s.status = pick(d, 200, 200, 200, 200, 200, 200, 203, 204, 301, 404, 410, 500, 503)
	if d.one(3) {
		s.control = d.control()
	}
	if d.one(4) {
		s.vary = d.vary()
	}
	s.trailer, s.flushFirst = d.one(5), d.one(12)
	if d.one(10) {
		s.declares = "wrong"
	}
	if d.one(4) {
		s.end, s.cutAt = pick(d, "abort", "panic", "goexit", "hang"), d.IntN(4)-1
	}
	return s
}

// ServeHTTP is the origin.
func (m *world) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	run := m.begin(r)
	defer m.over(run)
	// Of what the cache gives to its own runs, this name is all that can be seen.
	run.direct = !strings.Contains(fmt.Sprintf("%T", w), ".Recorder[")
	if !run.direct {
		m.timeless(r)
	}
	if r.Method == http.MethodPost {
		m.modify(w, run)
		return
	}
	o := &originWriter{world: m, run: run, w: w, r: r}
	if o.header() {
		o.body()
	}
}

// begin notes a run.
func (m *world) begin(r *http.Request) *run {
	id, err := strconv.Atoi(r.Header.Get("X-Op"))
	m.mu.Lock()
	defer m.mu.Unlock()
	op := m.byID[id]
	if err != nil || op == nil {
		panic(fmt.Sprintf("a run for nobody: %q", r.Header))
	}
	run := &run{id: len(m.runs), op: op, method: r.Method, query: r.URL.RawQuery, place: m.placeOf(r), began: time.Now(), returns: make(chan struct{})}
	run.who = who{
		cookie: strings.TrimPrefix(r.Header.Get("Cookie"), "user="), auth: r.Header.Get("Authorization"),
		lang: r.Header.Get("Accept-Language"), kind: r.Header.Get("X-Kind"), proxied: r.Header.Get("X-Forwarded-Host"),
	}
	run.who.session, _ = r.Context().Value(sessionKey{}).(string)
	run.version = m.versions[run.place]
	run.script = m.plan.scriptFor(op, m.runsOf[id], r.Method)
	m.runsOf[id]++
	run.rep = m.repFor(run)
	m.runs = append(m.runs, run)
	m.tell("run %d begins for #%d: %s place %d?%s (%v) version %d, rep %d of %d bytes, inm=%q", run.id, id, r.Method, run.place, run.query, run.who, run.version, run.rep.id, run.rep.total, r.Header.Get("If-None-Match"))
	return run
}

// over notes the end of a run.
func (m *world) over(run *run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run.ended = time.Now()
	close(run.returns)
	m.tell("run %d ends (status %d, script %+v)", run.id, run.status, run.script)
}

// modify is an unsafe method. The version changes before it is answered, as
// that of a database does.
func (m *world) modify(w http.ResponseWriter, run *run) {
	status := pick(diceOf(m.plan.seed, run.op.id, 9), 200, 204, 303, 500)
	if status < 400 {
		run.version = m.bump(run.place)
	}
	run.own(w.Header())
	m.sent(run, status)
	w.WriteHeader(status)
}

// own sets the field that says which run a header is of.
func (run *run) own(h http.Header) { h.Set("X-Run", strconv.Itoa(run.id)) }

// sent notes the header of a run.
func (m *world) sent(run *run, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run.status, run.header = status, time.Now()
	m.tell("run %d sends %d", run.id, status)
}

// An originWriter answers one GET or HEAD.
type originWriter struct {
	*world
	run *run
	w   http.ResponseWriter
	r   *http.Request
}

// header sends the header, and reports whether a body follows.
func (o *originWriter) header() bool {
	s := &o.run.script
	if !o.wait(s.delay) {
		return false
	}
	h := o.w.Header()
	if s.interim {
		h.Set("X-Early", o.mark())
		o.w.WriteHeader(http.StatusEarlyHints)
		h.Del("X-Early")
	}
	if s.end != "" && s.cutAt < 0 && !o.fail() {
		return false
	}
	notModified := o.fields(h)
	status := s.status
	if notModified {
		status = http.StatusNotModified
	}
	o.sent(o.run, status)
	if s.flushFirst && status == http.StatusOK {
		_ = http.NewResponseController(o.w).Flush()
	}
	o.w.WriteHeader(status)
	return status != http.StatusNotModified && status != http.StatusNoContent && o.r.Method != http.MethodHead
}

// mark is the value of a field that is for one request.
func (o *originWriter) mark() string { return strconv.Itoa(o.run.op.id) }

// fields sets the fields of the response, and reports whether it is a 304.
func (o *originWriter) fields(h http.Header) bool {
	s, p, rep := &o.run.script, &o.plan.places[o.run.place], o.run.rep
	o.run.own(h)
	if cc := s.control.String(); cc != "" && s.sets {
		h.Set("Cache-Control", cc)
	} else if cc != "" {
		h.Add("Cache-Control", cc)
	}
	for _, name := range s.vary {
		h.Add("Vary", name)
	}
	if s.cookie {
		h.Add("Set-Cookie", "of="+o.mark())
	}
	if s.control.privateField {
		h.Set("X-Personal", o.mark())
	}
	h.Set("Surrogate-Key", p.tag)
	tag, modified := rep.etag(p.validator), modifiedAt(o.run.version)
	if tag != "" {
		h.Set("Etag", tag)
	}
	if p.validator == "date" {
		h.Set("Last-Modified", modified)
	}
	asked := o.r.Header
	if s.status == http.StatusOK && (tag != "" && strings.Contains(asked.Get("If-None-Match"), tag) ||
		p.validator == "date" && asked.Get("If-None-Match") == "" && asked.Get("If-Modified-Since") == modified) {
		if p.validator == "strong" {
			rep.head(h)
		}
		return true
	}
	if o.r.Method != http.MethodHead || p.validator == "strong" {
		rep.head(h)
	}
	if s.status == http.StatusNoContent {
		return false
	}
	switch s.declares {
	case "right":
		h.Set("Content-Length", strconv.Itoa(rep.total))
	case "wrong":
		h.Set("Content-Length", strconv.Itoa(rep.total+lineBytes))
	}
	h.Set("Content-Type", "text/plain")
	return false
}

// body writes the body, line by line.
func (o *originWriter) body() {
	s, n, sent := &o.run.script, 0, 0
	rc := http.NewResponseController(o.w)
	for line := range slices.Chunk([]byte(o.run.rep.body()), lineBytes) {
		if s.end != "" && n == s.cutAt && !o.fail() {
			return
		}
		if n > 0 && s.between > 0 && n < 8 && !o.wait(s.between) {
			return
		}
		if _, err := o.w.Write(line); err != nil {
			o.gone(err)
			return
		}
		if s.flushes && n%3 == 0 {
			_ = rc.Flush()
		}
		n++
		if sent += len(line); sent > bodyLimit && sent-len(line) <= bodyLimit {
			o.mu.Lock()
			o.run.large = time.Now()
			o.mu.Unlock()
		}
	}
	o.mu.Lock()
	// HTTP/1 has trailers only where the server does not know the length.
	known := s.declares == "right" || !(s.flushes && o.run.rep.total > 0) && !(s.flushFirst && o.run.status == http.StatusOK) && o.run.rep.total < 2048
	o.run.whole = s.declares != "wrong" && (!s.trailer || o.plan.outbound && !o.plan.http2 && known)
	o.mu.Unlock()
	if s.trailer {
		o.w.Header().Set(http.TrailerPrefix+"X-Trail", o.mark())
	}
	if s.writes && !o.run.direct {
		go o.tooLate()
	}
}

// tooLate writes when the run is over, and goes on for a while: others may
// still be reading.
func (o *originWriter) tooLate() {
	<-o.run.returns
	for range 3 {
		time.Sleep(o.plan.pace.slack) // the run is not over yet when it is told so
		if _, err := o.w.Write([]byte("written after the return")); err == nil {
			o.fault("late write", "run %d has returned, and is told that what it writes is sent", o.run.id)
		}
	}
}

// wait waits, and reports whether the handler goes on.
func (o *originWriter) wait(d time.Duration) bool {
	var done <-chan struct{}
	if o.run.script.heeds != "" {
		done = o.r.Context().Done()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return o.ended()
	}
}

// ended does what the handler does when its context has ended. It reports
// false.
func (o *originWriter) ended() bool {
	o.gone(o.r.Context().Err())
	switch o.run.script.heeds {
	case "abort":
		panic(http.ErrAbortHandler)
	case "error":
		if o.run.status != 0 {
			panic(http.ErrAbortHandler)
		}
		o.w.Header().Set("X-Origin-Error", "1")
		o.w.WriteHeader(http.StatusGatewayTimeout)
	}
	return false
}

// gone notes that a run ended since its context had, or nobody reads.
func (o *originWriter) gone(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	late := errors.Is(err, context.DeadlineExceeded) || errors.Is(o.r.Context().Err(), context.DeadlineExceeded) || !o.closed.IsZero()
	o.run.late = o.run.late || late
	o.tell("run %d is told: %v", o.run.id, err)
}

// fail ends the run badly, or hangs and reports whether it goes on.
func (o *originWriter) fail() bool {
	switch o.run.script.end {
	case "abort":
		panic(http.ErrAbortHandler)
	case "panic":
		panic("the origin panicked")
	case "goexit":
		runtime.Goexit()
	}
	if o.run.status != 0 && o.plan.outbound {
		_ = http.NewResponseController(o.w).Flush() // else the header waits in a server's buffer
	}
	return o.wait(o.plan.pace.hang)
}
