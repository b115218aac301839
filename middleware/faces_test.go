package middleware

import (
	"fmt"
	"io"
	"maps"
	"net/http"
)

// faces are the two uses of a Cache, each as a handler in front of an origin,
// for tests of what must hold for both.
var faces = []struct {
	name  string
	mount func(c *Cache, p Policy, origin http.Handler) http.Handler
}{
	{"handler", func(c *Cache, p Policy, origin http.Handler) http.Handler { return c.Handler(p)(origin) }},
	{"transport", func(c *Cache, p Policy, origin http.Handler) http.Handler {
		return clientOf(c.Transport(p, inProcess{origin}))
	}},
}

// inProcess is a round tripper that asks a handler. A panic is an error, or
// breaks the response off, as for the client of a server.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if in.Host == "" {
		in.Host = in.URL.Host
	}
	if in.TLS = nil; in.URL.Scheme == "https" {
		in.TLS = &overTLS
	}
	in.URL.Scheme, in.URL.Host = "", ""
	rep := &reply{req: r, in: *in}
	rep.start(func(in *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				panic(originError{fmt.Errorf("the connection was closed: %v", v)})
			}
		}()
		p.h.ServeHTTP(rep, in)
		if rep.resp == nil {
			rep.WriteHeader(http.StatusOK)
		}
	})
	return rep.result()
}

// clientOf is a handler that makes each request again through rt, and answers
// with the response: a proxy that leaves everything as it is. It answers 502
// for an error.
func clientOf(rt http.RoundTripper) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		if out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", r.Host; r.TLS != nil {
			out.URL.Scheme = "https"
		}
		if out.ContentLength == 0 { // as httputil.ReverseProxy does
			out.Body = nil
		}
		resp, err := rt.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(flushing{w}, resp.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		for name, values := range resp.Trailer {
			w.Header()[http.TrailerPrefix+name] = values
		}
	})
}

// flushing sends what is written at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	_ = http.NewResponseController(f.w).Flush()
	return n, err
}
