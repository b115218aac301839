//lint:file-ignore SA1019 chi advises against RealIP, and services have it all the same

package compat

import (
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"
)

// plain is for middleware that needs no notes.
func plain(w wrapper) func(*notes) wrapper { return func(*notes) wrapper { return w } }

// made is for middleware that has a state.
func made(w func() wrapper) func(*notes) wrapper { return func(*notes) wrapper { return w() } }

// routed puts middleware that is for a chi router into one.
func routed(pattern string, mw ...wrapper) func(*notes) wrapper {
	return plain(func(next http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(mw...)
		r.Handle(pattern, next)
		return r
	})
}

// everywhere wants the same in all places, in wants what is given in order.
func everywhere(s sharing) map[place]sharing { return in(s, s, s, s) }

func in(want ...sharing) map[place]sharing {
	m := make(map[place]sharing)
	for i, s := range want {
		m[places[i]] = s
	}
	return m
}

// gzips are the fields of a user that reads gzip.
var gzips = []string{"Accept-Encoding", "gzip"}

// quietly keeps what the recoverer of chi has to say out of the output.
func quietly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, chimw.WithLogEntry(r, noted{new(notes)}))
	})
}

// noted is the log of chi.
type noted struct{ *notes }

func (n noted) NewLogEntry(*http.Request) chimw.LogEntry { return n }
func (n noted) Panic(any, []byte)                        {}
func (n noted) Write(status, bytes int, _ http.Header, _ time.Duration, _ any) {
	n.add("%d, %d bytes", status, bytes)
}

var chiRows = []row{
	{name: "nothing", breaks: true, wrap: plain(func(h http.Handler) http.Handler { return h }), want: everywhere(shared)},
	{name: "chi Compress", breaks: true, wrap: made(func() wrapper { return chimw.Compress(5, "text/plain") }), alice: gzips, want: in(shared, variant, shared, variant)},
	{name: "chi Compress, both read gzip", wrap: made(func() wrapper { return chimw.Compress(5, "text/plain") }), alice: gzips, bob: gzips, want: everywhere(shared)},
	{name: "chi Timeout", breaks: true, wrap: plain(chimw.Timeout(10 * time.Second)), want: everywhere(shared)},
	{name: "chi Throttle", breaks: true, wrap: made(func() wrapper { return chimw.Throttle(10) }), want: everywhere(shared)},
	{name: "chi ThrottleBacklog", wrap: made(func() wrapper { return chimw.ThrottleBacklog(1, 10, time.Hour) }), want: everywhere(shared)},
	{name: "chi Recoverer", breaks: true, wrap: plain(func(h http.Handler) http.Handler { return quietly(chimw.Recoverer(h)) }), want: everywhere(shared)},
	{name: "chi RequestID", wrap: plain(chimw.RequestID), alice: []string{"X-Request-Id", "alice-1"}, bob: []string{"X-Request-Id", "bob-1"}, want: everywhere(shared)},
	{name: "chi RealIP", wrap: plain(chimw.RealIP), alice: []string{"X-Real-Ip", "192.0.2.7"}, bob: []string{"X-Real-Ip", "192.0.2.8"}, want: everywhere(shared)},
	{name: "chi ClientIP", wrap: plain(chimw.ClientIPFromHeader("X-Real-Ip")), alice: []string{"X-Real-Ip", "192.0.2.7"}, bob: []string{"X-Real-Ip", "192.0.2.8"}, want: everywhere(shared)},
	{name: "chi Logger", breaks: true, wrap: func(n *notes) wrapper { return chimw.RequestLogger(noted{n}) }, want: everywhere(shared)},
	{name: "chi NoCache", wrap: plain(chimw.NoCache), want: everywhere(shared)},
	{name: "chi NoCache, handler silent", wrap: plain(chimw.NoCache), page: silentPage, policy: byTTL, want: in(never, never, shared, never)},
	{name: "chi SetHeader", wrap: plain(chimw.SetHeader("X-Frame-Options", "DENY")), want: everywhere(shared)},
	{name: "chi CleanPath", wrap: routed("/page", chimw.CleanPath), target: "//page", want: everywhere(shared)},
	{name: "chi StripSlashes", wrap: routed("/page", chimw.StripSlashes), target: "/page/", want: everywhere(shared)},
	{name: "chi RedirectSlashes", wrap: routed("/page", chimw.RedirectSlashes), target: "/page/", want: everywhere(partly)},
	{name: "chi GetHead", wrap: plain(getHead), want: everywhere(shared)},
	{name: "chi Heartbeat", wrap: plain(chimw.Heartbeat("/ping")), want: everywhere(shared)},
	{name: "chi BasicAuth", wrap: plain(passwords), alice: basic("alice", "a"), bob: basic("bob", "b"), want: everywhere(shared)},
	{name: "chi BasicAuth, handler silent", wrap: plain(passwords), alice: basic("alice", "a"), bob: basic("bob", "b"), page: silentPage, policy: byTTL, want: everywhere(never)},
	{name: "chi WithValue", wrap: plain(chimw.WithValue("key", "value")), page: valuePage, want: everywhere(shared)},
	{name: "chi URLFormat", wrap: routed("/page", chimw.URLFormat), target: "/page.json", want: everywhere(shared)},
	{name: "chi RouteHeaders", wrap: plain(byHost), want: everywhere(shared)},
	{name: "chi ContentCharset", wrap: plain(chimw.ContentCharset("", "utf-8")), want: everywhere(shared)},
	{name: "chi AllowContentType", wrap: plain(chimw.AllowContentType("text/plain")), want: everywhere(shared)},
	{name: "chi AllowContentEncoding", wrap: plain(chimw.AllowContentEncoding("gzip")), want: everywhere(shared)},
	{name: "chi PathRewrite", wrap: plain(chimw.PathRewrite("/page", "/other")), want: everywhere(shared)},
	{name: "chi RequestSize", wrap: plain(chimw.RequestSize(10)), want: everywhere(shared)},
	{name: "chi Sunset", wrap: plain(chimw.Sunset(time.Unix(4e9, 0))), want: everywhere(shared)},
	{name: "chi BasicAuth, bob has none", wrap: plain(passwords), alice: basic("alice", "a"), want: everywhere(partly)},
	{name: "chi AllowContentType, bob's is another", wrap: plain(chimw.AllowContentType("text/plain")), bob: []string{"Content-Type", "x/y"}, want: everywhere(partly)},
	{name: "chi ContentCharset, bob's is another", wrap: plain(chimw.ContentCharset("", "utf-8")), bob: []string{"Content-Type", "text/plain; charset=koi8-r"}, want: everywhere(partly)},
	{name: "chi RouteHeaders by a field in the key", wrap: plain(byTier), policy: keyed, alice: []string{"X-Tier", "alice"}, bob: []string{"X-Tier", "bob"}, want: everywhere(apart)},
}
