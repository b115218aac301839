//go:build !race

package compat

// These mountings are races, which the race detector would find.

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
)

// What echo.WrapMiddleware gives to a middleware is a handler that goes on with
// the context of the request. A refresh goes on with it after echo has given it
// to another request, whose URL and parameters are then exchanged.
func TestEchoWrapMiddlewareMixesRequests(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a pool gives what it got last
	synctest.Test(t, func(t *testing.T) {
		var wrong atomic.Int64
		e := echo.New()
		e.HTTPErrorHandler = func(error, echo.Context) {}
		e.GET("/item/:id", echoItem(time.Second, &wrong), echo.WrapMiddleware(newCache(t).Handler(itemPolicy)))
		e.GET("/other/:id", func(c echo.Context) error { return c.String(http.StatusOK, c.Param("id")) })
		err := mixed(e)
		t.Log(err, wrong.Load())
		if err == nil && wrong.Load() == 0 {
			t.Error("it works: docs/mounting.md says that it cannot")
		}
	})
}
