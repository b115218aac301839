package middleware

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/middleware/internal/fill"
	"github.com/freshet-go/freshet/middleware/internal/key"
)

// Who waits in vain for another's response says so (RFC 9211 2.6).
func TestStatusNotCollapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "private")
			fmt.Fprint(w, "mine")
		}))
		var mu sync.Mutex
		got := map[string]int{}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				w := get(h, "/")
				mu.Lock()
				defer mu.Unlock()
				got[w.Header().Get("Cache-Status")]++
			})
		}
		wg.Wait()
		if len(got) != 2 || got["freshet; fwd=uri-miss; detail=private"] != 1 || got["freshet; fwd=uri-miss; collapsed=?0; detail=private"] != 2 {
			t.Errorf("%v", got)
		}
	})
}

// The first client of a response is told the truth about it as far as it is
// known, and the header of a response that takes long is not kept back.
func TestStatusOfTheFirst(t *testing.T) {
	for _, row := range []struct {
		name   string
		write  func(w http.ResponseWriter)
		want   string
		header time.Duration // when the header comes
	}{
		{"small", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "x")
		}, "stored; ttl=60", 0},
		{"small with a trailer that was not announced", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "x")
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		}, "detail=trailer", 0},
		{"flushed", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Second)
		}, "stored; ttl=60", 0},
		{"slow", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "x")
			time.Sleep(time.Second)
		}, "stored; ttl=60", time.Millisecond},
		{"large", func(w http.ResponseWriter) {
			_, _ = w.Write(make([]byte, fill.SmallBody+1))
			time.Sleep(time.Second)
		}, "stored; ttl=60", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newCache(t, Options{}).Handler(Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=60")
					row.write(w)
				}))
				began := time.Now()
				w := &headerClock{bareWriter: bareWriter{h: http.Header{}}}
				r, _ := http.NewRequest("GET", "http://example.com/", nil)
				h.ServeHTTP(w, r)
				if got := w.h.Get("Cache-Status"); got != "freshet; fwd=uri-miss; "+row.want {
					t.Errorf("Cache-Status %q, want %q", got, row.want)
				}
				if d := w.at.Sub(began); d != row.header {
					t.Errorf("header after %v, want %v", d, row.header)
				}
			})
		})
	}
}

// A headerClock notes when the header was written.
type headerClock struct {
	bareWriter
	at time.Time
}

func (w *headerClock) WriteHeader(status int) {
	w.at = time.Now()
	w.bareWriter.WriteHeader(status)
}

// Why a request was passed is counted under the reason that it is told.
func TestStatusMetrics(t *testing.T) {
	c := newCache(t, Options{})
	h := c.Handler(Policy{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x") }))
	get(h, "/")
	get(h, "/", "Authorization", "x")
	get(h, "/", "Cookie", "x")
	get(h, "/", "Cookie", "x")
	var b bytes.Buffer
	c.WriteMetrics(&b)
	for _, want := range []string{
		`freshet_not_reused_total{cache="default",reason="authorization"} 1`,
		`freshet_not_reused_total{cache="default",reason="cookie"} 2`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("%s is not in\n%s", want, b.String())
		}
	}
}

// Every reason is in the package's documentation, and nothing else is.
func TestReasonsAreDocumented(t *testing.T) {
	listed := map[string]bool{}
	f, err := parser.ParseFile(token.NewFileSet(), "middleware.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(f.Doc.Text(), "labels of metrics:")
	list, _, _ = strings.Cut(list, "# What a handler")
	for line := range strings.Lines(list) {
		names, _, ok := strings.Cut(strings.TrimPrefix(line, "\t"), "  ")
		if !ok || !strings.HasPrefix(line, "\t") {
			continue
		}
		for name := range strings.SplitSeq(names, ", ") {
			listed[name] = true
		}
	}
	reasons := map[string]bool{}
	for file, prefix := range map[string]string{"reasons.go": "reason", "internal/fill/fill.go": "Reason", "../internal/rfc9111/store.go": "Reason"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
				return true
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return true // a reason of package fill
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			if reasons[value] = true; !listed[value] {
				t.Errorf("%s is not documented", value)
			}
			return true
		})
	}
	for name := range listed {
		if !reasons[name] {
			t.Errorf("%s is documented, and no reason", name)
		}
	}
}

// Why a complete response is not stored after all is counted as what it is.
func TestNotStoredReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		h := c.Handler(Policy{MaxVariants: 1})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Vary", "Accept-Language")
			fmt.Fprint(w, "x")
		}))
		var wg sync.WaitGroup
		wg.Go(func() { get(h, "/", "Accept-Language", "de") })
		wg.Go(func() { get(h, "/purged") })
		time.Sleep(time.Second / 2)
		// While it is made.
		if err := c.PurgeURL(t.Context(), "http://example.com/purged", Hard); err != nil {
			t.Error(err)
		}
		wg.Wait()
		get(h, "/", "Accept-Language", strings.Repeat("x", key.MaxVariantBytes+1))
		var b bytes.Buffer
		c.WriteMetrics(&b)
		for _, want := range []string{
			`freshet_not_stored_total{cache="default",reason="purged"} 1`,
			`freshet_not_reused_total{cache="default",reason="variants"} 1`,
		} {
			if !strings.Contains(b.String(), want+"\n") {
				t.Errorf("%s is not in\n%s", want, b.String())
			}
		}
	})
}
