package compat

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/go-chi/httprate"
	"github.com/gorilla/csrf"
	"github.com/gorilla/handlers"
	"github.com/justinas/nosurf"
	"github.com/klauspost/compress/gzhttp"
	"github.com/labstack/echo/v4"
	echomw "github.com/labstack/echo/v4/middleware"
	"github.com/rs/cors"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

var (
	aliceOrigin = []string{"Origin", "https://alice.example"}
	bobOrigin   = []string{"Origin", "https://bob.example"}
	aliceCookie = []string{"Cookie", "session=alice"}
	bobCookie   = []string{"Cookie", "session=bob"}
)

var libraryRows = []row{
	{name: "TimeoutHandler", breaks: true, wrap: plain(func(h http.Handler) http.Handler { return http.TimeoutHandler(h, 10*time.Second, "too slow") }), want: everywhere(shared)},
	{name: "StripPrefix", wrap: plain(func(h http.Handler) http.Handler { return http.StripPrefix("/a", h) }), target: "/a/page", want: everywhere(shared)},
	{name: "MaxBytesHandler", wrap: plain(func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 10) }), want: everywhere(shared)},
	{name: "ReverseProxy", breaks: true, wrap: proxied, want: everywhere(shared)},
	{name: "gzhttp", breaks: true, wrap: made(klauspost), alice: gzips, want: in(variant, variant, shared, variant)},
	{name: "gzhttp, zstd", wrap: made(klauspost), alice: gzips, bob: []string{"Accept-Encoding", "zstd"}, want: in(variant, variant, shared, variant)},
	{name: "rs/cors", wrap: made(crossOrigin), alice: aliceOrigin, bob: bobOrigin, want: in(variant, variant, shared, variant)},
	{name: "rs/cors, bob's origin is not allowed", wrap: made(crossOrigin), alice: aliceOrigin, bob: []string{"Origin", "https://other.example"}, want: in(variant, variant, shared, variant)},
	{name: "httprate", wrap: made(func() wrapper { return limited(1000) }), alice: []string{"X-User", "alice"}, bob: []string{"X-User", "bob"}, want: everywhere(shared)},
	{name: "httprate, limit reached", wrap: made(func() wrapper { return limited(2) }), alice: []string{"X-User", "alice"}, bob: []string{"X-User", "bob"}, want: everywhere(partly)},
	{name: "otelhttp", breaks: true, wrap: traced, want: everywhere(shared)},
	{name: "gorilla CompressHandler", breaks: true, wrap: plain(handlers.CompressHandler), alice: gzips, want: in(shared, variant, shared, variant)},
	{name: "gorilla CORS", wrap: made(gorillaCORS), alice: aliceOrigin, bob: bobOrigin, want: in(variant, variant, shared, variant)},
	{name: "gorilla RecoveryHandler", breaks: true, wrap: plain(handlers.RecoveryHandler(handlers.RecoveryLogger(silent))), want: everywhere(shared)},
	{name: "gorilla LoggingHandler", wrap: logged, want: everywhere(shared)},
	{name: "gorilla ProxyHeaders", wrap: plain(handlers.ProxyHeaders), alice: []string{"X-Forwarded-For", "192.0.2.7"}, bob: []string{"X-Forwarded-For", "192.0.2.8"}, want: everywhere(shared)},
	{name: "gorilla CanonicalHost", wrap: plain(handlers.CanonicalHost("http://site.test", http.StatusMovedPermanently)), want: everywhere(shared)},
	{name: "gorilla csrf, page without a token", wrap: made(gorillaCSRF), want: everywhere(partly)},
	{name: "gorilla csrf, page with a token", wrap: made(gorillaCSRF), page: tokenPage(csrf.Token), policy: byTTL, want: map[place]sharing{outside: never, inside: never, upstream: never}},
	{name: "nosurf, page without a token", wrap: made(func() wrapper { return secured }), want: everywhere(partly)},
	{name: "nosurf, page with a token", wrap: made(func() wrapper { return secured }), page: tokenPage(nosurf.Token), policy: byTTL, want: map[place]sharing{outside: never, inside: never, upstream: never}},
	{name: "scs, session not used", breaks: true, wrap: plain(sessions.LoadAndSave), alice: aliceCookie, bob: bobCookie, want: in(variant, variant, shared, variant)},
	{name: "scs, private session", wrap: plain(sessions.LoadAndSave), page: private(tokenPage(sessionToken)), want: map[place]sharing{outside: never, inside: never, upstream: never}},
	{name: "scs, session, handler silent", wrap: plain(sessions.LoadAndSave), page: tokenPage(sessionToken), policy: byTTL, want: map[place]sharing{outside: never, inside: never, upstream: never}},
	{name: "nothing, trailers", wrap: plain(func(h http.Handler) http.Handler { return h }), page: trailerPage, want: everywhere(never)},
	{name: "otelhttp, trailers", wrap: traced, page: trailerPage, want: everywhere(never)},
	{name: "gorilla LoggingHandler, trailers", wrap: logged, page: trailerPage, want: everywhere(never)},
	{name: "echo, trailers", wrap: made(func() wrapper { return inEcho() }), page: trailerPage, want: everywhere(never)},
	{name: "gzhttp, flushed", wrap: made(klauspost), alice: gzips, bob: gzips, page: flushedPage, want: everywhere(shared)},
	{name: "otelhttp, flushed", wrap: traced, page: flushedPage, want: everywhere(shared)},
	{name: "nosurf, public page with a token", wrap: made(func() wrapper { return secured }), page: public(tokenPage(nosurf.Token)), want: map[place]sharing{outside: partly, inside: partly, upstream: partly}},
	{name: "gorilla csrf, public page with a token", wrap: made(gorillaCSRF), page: public(tokenPage(csrf.Token)), want: map[place]sharing{outside: partly, inside: partly, upstream: partly}},
	{name: "nosurf, then TimeoutHandler", wrap: made(func() wrapper { return hidden }), page: tokenPage(nosurf.Token), policy: byTTL, want: map[place]sharing{outside: never, inside: never, upstream: never}},
	{name: "echo around", breaks: true, wrap: made(echoAround), alice: gzips, want: in(variant, variant, shared, variant)},
	{name: "echo RequestID", wrap: made(func() wrapper { return inEcho(echomw.RequestID()) }), fresh: []string{"X-Request-Id"}, want: everywhere(shared)},
	{name: "echo Recover", breaks: true, wrap: made(func() wrapper {
		return inEcho(echomw.RecoverWithConfig(echomw.RecoverConfig{LogErrorFunc: func(_ echo.Context, err error, _ []byte) error { return err }}))
	}), want: everywhere(shared)},
	{name: "echo ContextTimeout", breaks: true, wrap: made(func() wrapper { return inEcho(echomw.ContextTimeout(10 * time.Second)) }), want: everywhere(shared)},
}

// proxied passes requests on to a site of next.
func proxied(n *notes) wrapper {
	return func(next http.Handler) http.Handler {
		return &httputil.ReverseProxy{
			Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: "site.test"}) },
			Transport: serve(n.t, next, protocols["HTTP/1"]).transport(n.t, protocols["HTTP/1"]),
			ErrorLog:  silent,
		}
	}
}

func klauspost() wrapper {
	w, err := gzhttp.NewWrapper(gzhttp.EnableZstd(true))
	if err != nil {
		panic(err)
	}
	return func(h http.Handler) http.Handler { return w(h) }
}

func crossOrigin() wrapper {
	return cors.New(cors.Options{AllowedOrigins: []string{"https://alice.example", "https://bob.example"}, AllowCredentials: true}).Handler
}

func gorillaCORS() wrapper {
	return handlers.CORS(handlers.AllowedOrigins([]string{"https://alice.example", "https://bob.example"}))
}

func limited(n int) wrapper {
	return httprate.LimitBy(n, time.Hour, func(r *http.Request) (string, error) { return r.Header.Get("X-User"), nil })
}

func logged(n *notes) wrapper {
	return func(h http.Handler) http.Handler {
		return handlers.CustomLoggingHandler(io.Discard, h, func(_ io.Writer, p handlers.LogFormatterParams) {
			n.add("%d, %d bytes", p.StatusCode, p.Size)
		})
	}
}

// traced notes the spans of requests.
func traced(n *notes) wrapper {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans{n}))
	return otelhttp.NewMiddleware("page", otelhttp.WithTracerProvider(provider))
}

type spans struct{ *notes }

func (spans) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (spans) Shutdown(context.Context) error                  { return nil }
func (spans) ForceFlush(context.Context) error                { return nil }
func (s spans) OnEnd(span sdktrace.ReadOnlySpan) {
	line := span.Name()
	for _, a := range span.Attributes() {
		if a.Key == "http.response.status_code" || a.Key == "http.response.body.size" {
			line += fmt.Sprintf(" %s=%s", a.Key, a.Value.String())
		}
	}
	s.add("%s", line)
}

func gorillaCSRF() wrapper {
	return csrf.Protect([]byte("0123456789abcdef0123456789abcdef"), csrf.Secure(false))
}

func secured(h http.Handler) http.Handler {
	s := nosurf.New(h)
	s.SetIsTLSFunc(func(*http.Request) bool { return false })
	return s
}

// sessions are shared by stacks and their twins: users tell by their cookies.
var sessions = func() *scs.SessionManager {
	s := scs.New()
	s.Store = memstore.NewWithCleanupInterval(0)
	return s
}()

// sessionToken is made for a session when it is first asked for.
func sessionToken(r *http.Request) string {
	token := sessions.GetString(r.Context(), "token")
	if token == "" {
		token = rand.Text()
		sessions.Put(r.Context(), "token", token)
	}
	return token
}

// tokenPage shows a token of the client, and says nothing of caching.
func tokenPage(token func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value := token(r)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text+"token="+value)
	}
}

// trailerPage has a trailer, which is not stored.
func trailerPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	page(w, r)
	w.Header().Set("X-Sum", "1")
}

func flushedPage(w http.ResponseWriter, r *http.Request) {
	page(w, r)
	_ = http.NewResponseController(w).Flush()
	_, _ = io.WriteString(w, text)
}

// hidden has a writer of its own between what sets a cookie and the cache.
func hidden(h http.Handler) http.Handler {
	return secured(http.TimeoutHandler(h, time.Minute, "too slow"))
}

func public(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60, stale-while-revalidate=600")
		h(w, r)
	}
}

func private(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private")
		h(w, r)
	}
}

// inEcho puts middleware of echo around a handler that echo routes to.
func inEcho(mw ...echo.MiddlewareFunc) wrapper {
	return func(next http.Handler) http.Handler {
		e := echo.New()
		e.Logger.SetOutput(io.Discard)
		e.Use(mw...)
		e.Any("/*", echo.WrapHandler(next))
		return e
	}
}

func echoAround() wrapper {
	return inEcho(echomw.Gzip(), echomw.Secure(), echomw.BodyLimit("1K"))
}
