//go:build race

package compat

// Gin takes longer to build than all the rest, so it is built once, for the
// race detector.

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

func init() { gin.SetMode(gin.ReleaseMode) }

var ginRows = []row{
	{name: "gin around", breaks: true, wrap: made(func() wrapper { return inGin() }), want: everywhere(shared)},
	{name: "gin Recovery", breaks: true, wrap: made(func() wrapper { return inGin(gin.RecoveryWithWriter(io.Discard)) }), want: everywhere(shared)},
	{name: "gin Logger", wrap: func(n *notes) wrapper {
		return inGin(gin.LoggerWithConfig(gin.LoggerConfig{Output: io.Discard, Formatter: func(p gin.LogFormatterParams) string {
			n.add("%d, %d bytes", p.StatusCode, p.BodySize)
			return ""
		}}))
	}, want: everywhere(shared)},
}

// inGin puts middleware of gin around a handler that gin routes to.
func inGin(mw ...gin.HandlerFunc) wrapper {
	return func(next http.Handler) http.Handler {
		g := gin.New()
		g.Use(mw...)
		g.Any("/*path", gin.WrapH(next))
		return g
	}
}

func init() {
	mountings["gin, an Engine inside"] = func(mw wrapper, item time.Duration, wrong *atomic.Int64) http.Handler {
		inner, outer := gin.New(), gin.New()
		inner.GET("/item/:id", ginItem(item, wrong))
		outer.GET("/item/:id", gin.WrapH(mw(inner)))
		outer.GET("/other/:id", func(c *gin.Context) { c.String(http.StatusOK, c.Param("id")) })
		return outer
	}
	mountings["gin, the cache around all"] = func(mw wrapper, item time.Duration, wrong *atomic.Int64) http.Handler {
		g := gin.New()
		g.GET("/item/:id", ginItem(item, wrong))
		g.GET("/other/:id", func(c *gin.Context) { c.String(http.StatusOK, c.Param("id")) })
		return mw(g)
	}
}

func ginItem(takes time.Duration, wrong *atomic.Int64) gin.HandlerFunc {
	return func(c *gin.Context) {
		id := c.Param("id")
		time.Sleep(takes)
		if c.Param("id") != id || c.Request.URL.Path != "/item/"+id {
			wrong.Add(1)
		}
		c.String(http.StatusOK, c.Param("id"))
	}
}
