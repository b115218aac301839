package discreet

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottle(t *testing.T) {
	var th Throttle
	now := time.Unix(1000, 0)
	f := func(after time.Duration, want bool, wantSuppressed int64) {
		t.Helper()
		now = now.Add(after)
		if ok, suppressed := th.Allow(now); ok != want || suppressed != wantSuppressed {
			t.Errorf("at %v: %v, %d", now, ok, suppressed)
		}
	}
	f(0, true, 0)
	f(time.Millisecond, false, 0)
	f(time.Millisecond, false, 0)
	f(time.Second, true, 2)
	f(time.Second, true, 0)
}

// recorded returns what a logger of this package makes of messages.
func recorded(messages func(printf func(format string, args ...any))) string {
	var b bytes.Buffer
	l := Logger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	messages(l.Printf)
	return b.String()
}

// In the formats of net/http.
func TestLoggerLeavesOutWhatOthersSent(t *testing.T) {
	f := func(want, format string, args ...any) {
		t.Helper()
		if got := recorded(func(printf func(string, ...any)) { printf(format, args...) }); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	f(`level=WARN msg="Unsolicited response received on idle HTTP channel starting with \"...\"; err=<nil>" suppressed=0`+"\n",
		"Unsolicited response received on idle HTTP channel starting with %q; err=%v", []byte("hush \" hush\n"), nil)
	f(`level=WARN msg="http: invalid Content-Length of \"...\"" suppressed=0`+"\n", "http: invalid Content-Length of %q", "hush")
	f(`level=WARN msg="http2: server: error reading preface from client 1.2.3.4:5: bogus greeting \"...\"" suppressed=0`+"\n",
		"http2: server: error reading preface from client %v: %v", "1.2.3.4:5", fmt.Errorf("bogus greeting %q", "hush"))
	f(`level=WARN msg="http: panic serving 1.2.3.4:5: broken" suppressed=0 stack="1 [running]:\nmain.main()"`+"\n",
		"http: panic serving %v: %v\n%s", "1.2.3.4:5", "broken\nhush", "goroutine 1 [running]:\nmain.main()\n")
}

func TestLoggerThrottlesEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := recorded(func(printf func(string, ...any)) {
			for i := range 1000 {
				printf("http: panic serving %v: %v\n%s", "1.2.3.4:5", i, "goroutine 1 [running]:\n"+strings.Repeat("main.main()\n", 5000))
				printf("http: Accept error: %v; retrying in %v", "too many open files", time.Second)
			}
			time.Sleep(time.Second)
			printf("http: panic serving %v: %v\n%s", "1.2.3.4:5", "last", "goroutine 1 [running]:\n")
		})
		lines := strings.Split(strings.TrimSpace(got), "\n")
		if len(lines) != 3 || !strings.Contains(lines[1], "Accept error") || !strings.Contains(lines[2], "suppressed=999") {
			t.Errorf("%d lines: %.2000s", len(lines), got)
		}
		if len(got) > 3*maxStack {
			t.Errorf("%d bytes are logged", len(got))
		}
	})
}

func TestLoggerBoundsTheKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := recorded(func(printf func(string, ...any)) {
			for i := range 10 * maxKinds {
				printf("kind %d of many", i)
			}
		})
		if n := strings.Count(got, "\n"); n != maxKinds+1 {
			t.Errorf("%d lines, want one of each kind that has a throttle and one of the others", n)
		}
	})
}
