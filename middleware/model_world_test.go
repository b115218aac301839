package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cachemw "github.com/freshet-go/freshet/middleware"
)

// A world is a plan while it happens.
type world struct {
	plan  *plan
	cache *cachemw.Cache
	rt    http.RoundTripper // of the clients
	start time.Time

	served  atomic.Int64 // requests that the cache has answered
	fetched atomic.Int64 // round trips that a Transport has made

	mu       sync.Mutex
	byID     map[int]*op
	runs     []*run
	runsOf   map[int]int // runs begun for an op
	reps     []*rep
	versions []int64 // by place
	lastTag  []string
	answers  []*answer
	notes    []string
	faults   []fault
	closed   time.Time // when the cache was closed before the end

	// No older version may be served, or served as fresh, to who comes now.
	hard, soft map[target]int64
	raised     []raise // of hard, in the order of time
	softened   []raise // of soft
}

// A raise is when a version became the oldest that may be served.
type raise struct {
	target
	version int64
	at      time.Time
}

// hardBefore returns the oldest version that might have been served a moment
// ago, as long as it takes a header to arrive. The caller holds mu.
func (m *world) hardBefore(t target) (version int64) {
	for _, r := range m.raised {
		if r.target == t && time.Since(r.at) > m.plan.pace.slack {
			version = max(version, r.version)
		}
	}
	return version
}

// A target is a place and a query, as removals name them.
type target struct {
	place int
	query string
}

// A fault is a promise that was not kept.
type fault struct{ promise, text string }

func (f fault) String() string { return f.promise + ": " + f.text }

// fault notes that a promise was not kept.
func (m *world) fault(promise, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fault{promise, fmt.Sprintf(format, args...)})
}

// tell adds to the trace. The caller holds mu.
func (m *world) tell(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf("%8v ", m.since(time.Now()))+fmt.Sprintf(format, args...))
}

// since returns when something was, in the history.
func (m *world) since(t time.Time) time.Duration { return t.Sub(m.start).Round(time.Microsecond) }

// A network has listeners and the way to them.
type network interface {
	listen() net.Listener
	dial(l net.Listener) (net.Conn, error)
}

// newWorld mounts the cache between clients and origin.
func newWorld(h *plan, n network) (m *world, end func(), err error) {
	cache, err := cachemw.New(cachemw.Options{MaxBytes: h.maxBytes, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	m = &world{
		plan: h, cache: cache, start: time.Now(), byID: make(map[int]*op), runsOf: make(map[int]int),
		versions: make([]int64, len(h.places)), lastTag: make([]string, len(h.places)),
		hard: make(map[target]int64), soft: make(map[target]int64),
	}
	for i := range h.ops {
		m.byID[h.ops[i].id] = &h.ops[i]
	}
	var origin http.Handler = m
	if !h.outbound {
		origin = m.outside(cache.Handler(h.policy)(m))
	}
	l := n.listen()
	srv := &http.Server{Handler: origin, ErrorLog: log.New(io.Discard, "", 0), Protocols: protocols(h.http2)}
	down := make(chan struct{})
	go func() {
		defer close(down)
		_ = srv.Serve(l)
	}()
	tr := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return n.dial(l) },
		Protocols:          protocols(h.http2),
		DisableCompression: true,
		// A connection that was used before has requests sent again.
		DisableKeepAlives: !h.http2 && (h.outbound || !h.keepAlive),
	}
	m.rt = tr
	if h.outbound {
		m.rt = m.counted(cache.Transport(h.policy, tripper(func(r *http.Request) (*http.Response, error) {
			m.fetched.Add(1)
			m.timeless(r)
			resp, err := tr.RoundTrip(r)
			if err == nil {
				m.came(resp.Header)
			}
			return resp, err
		})))
	}
	return m, func() {
		tr.CloseIdleConnections()
		_ = srv.Close()
		<-down
	}, nil
}

// protocols is HTTP/1, or HTTP/2 without TLS.
func protocols(http2 bool) *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return &p
}

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// counted counts what a Transport is asked.
func (m *world) counted(rt http.RoundTripper) http.RoundTripper {
	return tripper(func(r *http.Request) (*http.Response, error) {
		m.served.Add(1)
		return rt.RoundTrip(r)
	})
}

// timeless checks the context of a run, which goes on as long as it is read.
func (m *world) timeless(r *http.Request) {
	if at, ok := r.Context().Deadline(); ok {
		m.fault("deadline", "the context of the run for #%s says that it ends at %v", r.Header.Get("X-Op"), m.since(at))
	}
}

// came notes when the header of a run has come to a Transport: the origin's server
// may have kept it back for a while.
func (m *world) came(h http.Header) {
	if id, err := strconv.Atoi(h.Get("X-Run")); err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.runs[id].header = time.Now()
	}
}

type sessionKey struct{}

// outside is middleware in front of the cache.
func (m *world) outside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := strconv.Atoi(r.Header.Get("X-Op"))
		o := m.byID[id]
		ctx := r.Context()
		if user := r.Header.Get("X-Session"); user != "" {
			ctx = context.WithValue(ctx, sessionKey{}, user)
		}
		if o.deadline > 0 {
			limited, cancel := context.WithTimeout(ctx, o.deadline)
			defer cancel()
			ctx = limited
			defer func() {
				if o.says504 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
					w.WriteHeader(http.StatusGatewayTimeout)
				}
			}()
		}
		h, own := w.Header(), strconv.Itoa(id)
		if o.outer.control != "" {
			h.Set("Cache-Control", o.outer.control)
		}
		if o.outer.vary != "" {
			h.Set("Vary", o.outer.vary)
		}
		if o.outer.cookie {
			h.Add("Set-Cookie", "outer="+own)
		}
		if o.outer.early {
			h.Set("X-Outer-Early", own)
		}
		w = &lateWriter{ResponseWriter: w, do: func(h http.Header) { o.outer.say(h, own) }}
		m.served.Add(1)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// say does what is done when the header of the answer is written.
func (o *outer) say(h http.Header, own string) {
	if o.late {
		h.Set("X-Outer-Late", own)
	}
	if o.lateCookie {
		h.Add("Set-Cookie", "late="+own)
	}
	if o.lateVary != "" {
		h.Add("Vary", o.lateVary)
	}
	if o.lateControl != "" {
		h.Set("Cache-Control", o.lateControl)
	}
	for _, name := range []string{"Surrogate-Key", "Content-Type"} {
		if lines := h[name]; o.edits && len(lines) > 0 {
			lines[0] = "edited by " + own
		}
	}
}

// A lateWriter does something to a header before it is written.
type lateWriter struct {
	http.ResponseWriter
	do func(http.Header)
}

func (w *lateWriter) WriteHeader(status int) {
	if w.do != nil && status >= 200 {
		w.do(w.Header())
		w.do = nil
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if w.do != nil {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

func (w *lateWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// placeOf returns which place a request is for.
func (m *world) placeOf(r *http.Request) int {
	for i, p := range m.plan.places {
		if p.path == r.URL.Path && p.host == r.Host {
			return i
		}
	}
	panic("no such place: " + r.Host + r.URL.Path)
}

// bump makes a new version of a place.
func (m *world) bump(place int) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions[place]++
	return m.versions[place]
}

// happen lets the history happen, and returns when every client is done and
// the cache is closed.
func (m *world) happen() {
	stop := make(chan struct{})
	var watch, all sync.WaitGroup
	watch.Go(func() { m.watch(stop) })
	for _, o := range m.plan.sorted() {
		all.Go(func() {
			time.Sleep(o.at - time.Since(m.start))
			m.do(m.byID[o.id])
		})
	}
	all.Wait()
	m.settle()
	m.probe()
	close(stop)
	watch.Wait()
	began := time.Now()
	if err := m.cache.Close(); err != nil && m.closed.IsZero() {
		m.fault("close", "%v", err)
	}
	if took := time.Since(began); took > 6*time.Second {
		m.fault("close", "took %v", took)
	}
}

// settle waits until no run is under way, and checks what was counted.
func (m *world) settle() {
	problem := ""
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		if problem = m.counts(); problem == "" {
			return
		}
	}
	m.fault("stats", "%s: %+v", problem, m.cache.Stats())
}

func (m *world) counts() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.cache.Stats()
	runs := int64(len(m.runs))
	if m.plan.outbound {
		runs = m.fetched.Load()
	}
	answered := s.Hits + s.Stale + s.Coalesced + s.Misses + s.Bypassed + s.Refused + s.Errors
	switch {
	case int64(answered) != m.served.Load():
		return fmt.Sprintf("%d requests, but %d are counted", m.served.Load(), answered)
	case int64(s.OriginCalls) != runs:
		return fmt.Sprintf("%d runs, but %d are counted", runs, s.OriginCalls)
	}
	for _, r := range m.runs {
		if r.ended.IsZero() {
			return fmt.Sprintf("run %d does not end", r.id)
		}
	}
	return ""
}

// probe stores a response that takes most of the room there is for one, now
// that no run has any of it.
func (m *world) probe() {
	room := m.plan.maxBytes / 8 * 3 / 4
	h := m.cache.Handler(cachemw.Policy{Name: "probe", TTL: time.Hour, MaxBodyBytes: room})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, room))
	}))
	status := ""
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://probe.example/", nil))
		status = w.Header().Get("Cache-Status")
	}
	if !strings.HasPrefix(status, "freshet; hit") && m.closed.IsZero() {
		m.fault("budget", "when all is over, there is no room for one response: %s, %+v", status, m.cache.Stats())
	}
}

// watch checks the budget, at all times.
func (m *world) watch(stop chan struct{}) {
	tick := time.NewTicker(23 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if time.Since(m.start) > 2*m.plan.pace.span {
				tick.Reset(time.Second) // little happens any more
			}
			if s := m.cache.Stats(); s.Bytes > s.MaxBytes || s.Bytes < 0 || s.WindowBytes < 0 || s.WindowBytes > s.Bytes {
				m.fault("budget", "at %v: %+v", m.since(time.Now()), s)
				return
			}
		}
	}
}

// remove does what a removal says. What is removed has changed before.
func (m *world) remove(o *op) {
	p, mode := m.plan.places[o.place], cachemw.Hard
	if o.soft {
		mode = cachemw.Soft
	}
	floors := make(map[target]int64)
	m.mu.Lock()
	for i, other := range m.plan.places {
		if o.do == "purge-url" && i != o.place || o.do == "purge-tag" && other.tag != p.tag ||
			o.do == "purge-prefix" && (other.host != p.host || !strings.HasPrefix(other.path, p.path[:3])) {
			continue
		}
		m.versions[i]++
		for _, q := range queries {
			if o.do != "purge-url" || q == o.query || m.plan.mixes() {
				floors[target{i, q}] = m.versions[i]
			}
		}
	}
	m.tell("#%d %s begins (soft: %v)", o.id, o.do, o.soft)
	m.mu.Unlock()
	var err error
	switch o.do {
	case "purge-url":
		err = m.cache.PurgeURL(context.Background(), spell(o.spelled, p.host, p.path, o.query), mode)
	case "purge-tag":
		err = m.cache.PurgeTag(context.Background(), p.tag, mode)
	case "purge-prefix":
		err = m.cache.PurgePrefix(context.Background(), spell(o.spelled, p.host, p.path[:3], ""), mode)
	default:
		err = m.cache.Flush(context.Background(), mode)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell("#%d %s ends: %v", o.id, o.do, err)
	if err != nil {
		return // it is closed: nothing is served from it any more
	}
	for t, v := range floors {
		m.raise(t, v, o.soft)
	}
}

// raise notes that no version before v may be served. The caller holds mu.
func (m *world) raise(t target, v int64, soft bool) {
	if soft {
		m.soft[t] = max(m.soft[t], v)
		m.softened = append(m.softened, raise{t, v, time.Now()})
	} else {
		m.hard[t] = max(m.hard[t], v)
		m.raised = append(m.raised, raise{t, v, time.Now()})
	}
}

// bubbled returns the stacks of the goroutines of the caller's bubble, but for
// the caller's own and those of the bubble itself.
func bubbled() (stacks []string) {
	buf := make([]byte, 2<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	first, _, _ := strings.Cut(all[0], "\n")
	_, bubble, ok := strings.Cut(first, "synctest bubble ")
	if !ok {
		return nil
	}
	for _, s := range all[1:] {
		head, calls, _ := strings.Cut(s, "\n")
		if strings.HasSuffix(head, "synctest bubble "+bubble) && !strings.HasPrefix(calls, "internal/synctest.Run(") &&
			!strings.HasPrefix(calls, "testing/synctest.") {
			stacks = append(stacks, s)
		}
	}
	return stacks
}
