package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/server"
)

// pipe puts a named pipe in place of file: to read it takes until the test has
// written to it.
func pipe(t *testing.T, file string) {
	t.Helper()
	_ = os.Remove(file)
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// isRead waits until a pipe is being read. What is written after that is read
// when the writer closes it.
func isRead(t *testing.T, file string) *os.File {
	t.Helper()
	opened := make(chan *os.File, 1)
	go func() {
		w, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
		}
		opened <- w
	}()
	select {
	case w := <-opened:
		t.Cleanup(func() { _ = w.Close() })
		return w
	case <-time.After(waitLimit):
		t.Fatalf("%s is not read", file)
		return nil
	}
}

func gatewayConfig(upstream string) string {
	return "listen: 127.0.0.1:0\nadmin: off\nupstreams: {app: {url: '" + upstream + "'}}\nroutes: [{pattern: /*, upstream: app}]\n"
}

func TestTermEndsTheReadingOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	pipe(t, file)
	p := launch(t, nil, "-config", file)
	isRead(t, file)
	_ = p.Process.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestHangupsWhileAFileIsReadAreOne(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	write(t, file, gatewayConfig(up))
	p := launch(t, nil, "-config", file)
	base := "http://" + p.printed(mainAddress)
	pipe(t, file)
	_ = p.Process.Signal(syscall.SIGHUP)
	w := isRead(t, file)
	for i := 0; !strings.Contains(p.output(), "a reload is waiting already"); i++ {
		if i > 1000 {
			t.Fatal("hangups are not noticed while a file is read")
		}
		_ = p.Process.Signal(syscall.SIGHUP)
		if _, body := get(t, base); body != "here" {
			t.Fatalf("while a file is read: %q", body)
		}
	}
	fmt.Fprint(w, gatewayConfig(up))
	_ = w.Close()
	p.printed("msg=reloaded")
	isRead(t, file) // once more, for all of the hangups
	_ = p.Process.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d after SIGTERM while a file is read, want 0", code)
	}
	if n := strings.Count(p.output(), "msg=reloaded"); n != 1 {
		t.Errorf("reloaded %d times", n)
	}
}

// Files that took the memory of the machine.
func TestBadFileOnHangupLeavesTheGatewayRunning(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	write(t, file, gatewayConfig(up))
	p := launch(t, nil, "-config", file)
	base := "http://" + p.printed(mainAddress)
	for i, unit := range []string{"[", "{a: ", "- ", "? "} {
		write(t, file, strings.Repeat(unit, 40_000))
		_ = p.Process.Signal(syscall.SIGHUP)
		p.printed(strings.Repeat(`(?s:reload failed.*nested deeper than 32 levels.*)`, i+1))
		if _, body := get(t, base); body != "here" {
			t.Errorf("after %q: %q", unit, body)
		}
	}
	_ = p.Process.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if peak := p.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; peak > 256<<10 {
		t.Errorf("took %d KiB of memory", peak)
	}
}

// The transports of net/http log to the standard logger, with all that an
// upstream sent when nobody asked.
func TestNothingThatAnUpstreamSentIsPrinted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	arrived := make(chan struct{})
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere")
		<-arrived
		fmt.Fprint(conn, "hush \"hush\"\nhush")
	}()
	p := launch(t, nil, "-upstream", "http://"+ln.Addr().String(), "-listen", "127.0.0.1:0", "-admin", "off")
	base := "http://" + p.printed(mainAddress)
	if _, body := get(t, base); body != "here" {
		t.Fatalf("got %q", body)
	}
	close(arrived)
	p.printed(`level=WARN msg="Unsolicited response received on idle HTTP channel starting with \\"\.\.\.\\"`)
	if strings.Contains(p.output(), "hush") {
		t.Errorf("printed what the upstream sent")
	}
}

// reloaded runs reloads until it has nothing to do, and returns the log.
func reloaded(t *testing.T, hangups chan struct{}, reload func() error) string {
	t.Helper()
	var b bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	go reloads(ctx, hangups, reload, slog.New(slog.NewTextHandler(&b, nil)))
	synctest.Wait()
	stop()
	synctest.Wait()
	return b.String()
}

func TestPanicOfAReloadIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangups := make(chan struct{}, 2)
		hangups <- struct{}{}
		hangups <- struct{}{}
		var n atomic.Int64
		log := reloaded(t, hangups, func() error {
			if n.Add(1) == 1 {
				panic("http://me:hush@broken")
			}
			return nil
		})
		if !strings.Contains(log, "reload failed") || !strings.Contains(log, "xxxxx@broken") || strings.Contains(log, "hush") || !strings.Contains(log, "msg=reloaded") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestLoadEndsWithItsContext(t *testing.T) {
	discard := slog.New(slog.DiscardHandler)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		never := make(chan struct{})
		_, err := load(ctx, func() (server.Config, error) {
			<-never
			return server.Config{}, nil
		}, discard)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(never)
	})
	_, err := load(t.Context(), func() (server.Config, error) { panic("broken") }, discard)
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("after a panic: %v", err)
	}
	c, err := load(t.Context(), func() (server.Config, error) { return server.Config{Name: "x"}, nil }, discard)
	if err != nil || c.Name != "x" {
		t.Errorf("%+v, %v", c, err)
	}
}
