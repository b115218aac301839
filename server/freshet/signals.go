package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/freshet-go/freshet/server"
	"github.com/freshet-go/freshet/server/internal/discreet"
)

// watch acts on signals at once, whatever the program does meanwhile: the
// first to end drains, the second ends the process. SIGHUP is handed to
// hangups, which has room for one: another one before that is taken asks for
// the same.
func watch(signals <-chan os.Signal, drain func(), hangups chan<- struct{}, logger *slog.Logger, exit func(int)) {
	ending := false
	for sig := range signals {
		switch {
		case sig == syscall.SIGHUP:
			select {
			case hangups <- struct{}{}:
			default:
				logger.Warn("a reload is waiting already for the one before it to end")
			}
		case ending:
			logger.Error("second signal, ending at once", "signal", sig)
			exit(1)
		default:
			ending = true
			logger.Info("ending after requests under way", "signal", sig)
			drain()
		}
	}
}

// reloads runs reload once for each of hangups, one after the other, until ctx
// ends. It is never inside of watch: to read a file may take as long as its
// file system likes.
func reloads(ctx context.Context, hangups <-chan struct{}, reload func() error, logger *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		err := contain(reload, logger)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			logger.Error("reload failed, the configuration before stays in use", "error", err)
		default:
			logger.Info("reloaded")
		}
	}
}

// contain makes an error of a panic: what is wrong with a new configuration
// must not end the gateway that runs on the one before.
func contain(f func() error, logger *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logger.Error("panic", "stack", string(debug.Stack()))
			err = errors.New("panic: " + discreet.Text(fmt.Sprint(p)))
		}
	}()
	return f()
}

// load reads a configuration, or returns the error of ctx when that ends
// first. The reading may then go on, and is of no use to anyone.
func load(ctx context.Context, read func() (server.Config, error), logger *slog.Logger) (server.Config, error) {
	type result struct {
		config server.Config
		err    error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = contain(func() (err error) {
			r.config, err = read()
			return err
		}, logger)
		done <- r
	}()
	select {
	case r := <-done:
		if err := ctx.Err(); err != nil {
			return server.Config{}, err
		}
		return r.config, r.err
	case <-ctx.Done():
		return server.Config{}, ctx.Err()
	}
}
