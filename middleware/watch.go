package middleware

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A watcher is the ResponseWriter of a request that is passed to the handler
// although its header is of interest. It changes nothing of that.
type watcher struct {
	http.ResponseWriter

	// seen is called once with the final status and the header, before the
	// client can see them.
	seen func(status int, h http.Header)

	// sent, unless it is nil, is called when the header was written, with what
	// has become of it outside.
	sent  func(h http.Header)
	wrote bool
}

// see tells of a final status, once, and reports whether it has passed it on.
func (w *watcher) see(status int) (passed bool) {
	if w.wrote {
		return false
	}
	w.wrote = true
	if w.seen(status, w.Header()); w.sent == nil {
		return false
	}
	w.ResponseWriter.WriteHeader(status)
	w.sent(w.Header())
	return true
}

// WriteHeader tells of a final status, and passes it on.
func (w *watcher) WriteHeader(status int) {
	if final := status >= 200 || status == http.StatusSwitchingProtocols; !final || !w.see(status) {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write passes p on.
func (w *watcher) Write(p []byte) (int, error) {
	w.see(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps what the client's ResponseWriter can do with a file.
func (w *watcher) ReadFrom(src io.Reader) (int64, error) {
	w.see(http.StatusOK)
	return io.Copy(w.ResponseWriter, src)
}

// FlushError flushes what has been written.
func (w *watcher) FlushError() error {
	w.see(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *watcher) Flush() { _ = w.FlushError() }

// Hijack takes the connection, after which nothing is seen.
func (w *watcher) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.see(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// CloseNotify implements http.CloseNotifier, which frameworks still ask for.
func (w *watcher) CloseNotify() <-chan bool {
	//lint:ignore SA1019 it is what they ask for
	if n, ok := w.ResponseWriter.(http.CloseNotifier); ok {
		return n.CloseNotify()
	}
	return make(chan bool)
}

// Unwrap is for http.ResponseController.
func (w *watcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish is called when the handler has returned: one that has written nothing
// answers 200.
func (w *watcher) finish() { w.see(http.StatusOK) }
