package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the command, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "freshet")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "freshet")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// waitLimit bounds every wait of these tests. It is reached only in failure.
const waitLimit = 30 * time.Second

// process is a running command.
type process struct {
	*exec.Cmd
	t *testing.T

	mu    sync.Mutex
	lines []string // of stdout and stderr
	more  chan struct{}
	ended chan struct{}
}

func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(binary, args...), t: t, more: make(chan struct{}, 1), ended: make(chan struct{})}
	p.Env = append(os.Environ(), env...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.Stderr = w, w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default:
			}
		}
	}()
	go func() {
		<-read
		_ = p.Wait()
		_ = r.Close()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%v printed:\n%s", args, p.output())
		}
	})
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// printed waits for a line that matches and returns its first group.
func (p *process) printed(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.After(waitLimit)
	for {
		if m := re.FindStringSubmatch(p.output()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-p.more:
		case <-p.ended:
			if m := re.FindStringSubmatch(p.output()); m != nil {
				return m[len(m)-1]
			}
			p.t.Fatalf("ended without printing %s", pattern)
		case <-deadline:
			p.t.Fatalf("did not print %s", pattern)
		}
	}
}

// code waits for the end.
func (p *process) code() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.ProcessState.ExitCode()
	case <-time.After(waitLimit):
		p.t.Fatal("did not end")
		return -1
	}
}

const (
	mainAddress  = `msg=listening address=(\S+)`
	adminAddress = `msg="listening for the admin" address=(\S+)`
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Timeout: waitLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func upstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBadFlags(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	write(t, bad, "routes:\n  - pattern: /x\n    upstrem: app\n")
	f := func(want string, args ...string) {
		t.Helper()
		p := launch(t, nil, args...)
		if code := p.code(); code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, code)
		}
		if got := strings.TrimPrefix(p.output(), "freshet: "); got != want {
			t.Errorf("%q: printed\n%s\nwant\n%s", args, got, want)
		}
	}
	f(`flag provided but not defined: -nope`, "-nope")
	f(`unexpected argument "http://a"`, "http://a")
	f(`-upstream "": is required, such as http://127.0.0.1:8000`, "-upstream", "")
	f(`-upstream "a:80": scheme must be http or https`, "-upstream", "a:80")
	f(`-upstream "http://": has no host`, "-upstream", "http://")
	f(`-upstream "http://xxxxx@a": user information is not supported`, "-upstream", "http://me:hush@a")
	f(`-upstream "http://xxxxx@a" and -config "x.yaml" exclude each other`, "-upstream", "http://me:hush@a", "-config", "x.yaml")
	f(`unexpected argument "http://xxxxx@a"`, "http://me:hush@a")
	f(`-listen "http://xxxxx@a": not an address of the form host:port`, "-listen", "http://me:hush@a")
	f(`-upstream "http://a" and -config "x.yaml" exclude each other`, "-upstream", "http://a", "-config", "x.yaml")
	f(`-config "": is not a file name`, "-config", "")
	f(`server: open `+dir+`/none.yaml: no such file or directory`, "-config", dir+"/none.yaml")
	f(bad+`:3:5: routes[0].upstrem: unknown key, must be one of pattern, upstream, strip_prefix, policy, limit`, "-config", bad)
	f(`-listen "8080": not an address of the form host:port`, "-upstream", "http://a", "-listen", "8080")
	f(`-listen "127.0.0.1:99999": port "99999": not a number from 0 to 65535`, "-listen", "127.0.0.1:99999")
	f(`-admin "x": not an address of the form host:port (or "off")`, "-upstream", "http://a", "-admin", "x")
	f(`-admin "0.0.0.0:9090": refusing to listen beyond loopback without an admin token`, "-upstream", "http://a", "-admin", "0.0.0.0:9090")
	f(`invalid value "12XB" for flag -max-bytes: not a size such as 256MiB, 1.5GB or 1048576`, "-max-bytes", "12XB")
	f(`invalid value "0" for flag -max-bytes: must be more than 0`, "-max-bytes", "0")
	f(`-max-bytes 1000: must be at least 65536 bytes`, "-upstream", "http://a", "-max-bytes", "1KB")
	good := filepath.Join(dir, "good.yaml")
	write(t, good, "listen: 127.0.0.1:0\nadmin: :0\nupstreams: {app: {url: 'http://a'}}\nroutes: [{pattern: /*, upstream: app}]\n")
	f(good+`:2:8: admin: ":0": refusing to listen beyond loopback without an admin token`, "-config", good)
	f(`-admin "1.2.3.4:0": refusing to listen beyond loopback without an admin token`, "-config", good, "-admin", "1.2.3.4:0")
	f(`-listen "y": not an address of the form host:port`, "-config", good, "-admin", "off", "-listen", "y")
	f(`-drain-timeout 0s: must be positive`, "-drain-timeout", "0s")
	f(`invalid value "soon" for flag -drain-timeout: parse error`, "-drain-timeout", "soon")
}

func TestVersionAndHelp(t *testing.T) {
	p := launch(t, nil, "-version")
	if code := p.code(); code != 0 || !strings.HasPrefix(p.output(), "freshet ") {
		t.Errorf("-version: %d, %q", code, p.output())
	}
	p = launch(t, nil, "-h")
	if code := p.code(); code != 0 {
		t.Errorf("-h: %d", code)
	}
	for _, name := range []string{"-upstream", "-config", "-listen", "-admin", "-max-bytes", "-drain-timeout", "-version"} {
		if !strings.Contains(p.output(), "  "+name) {
			t.Errorf("-h does not tell of %s", name)
		}
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	f := func(flag string, args ...string) {
		t.Helper()
		p := launch(t, nil, args...)
		if code := p.code(); code != 1 {
			t.Errorf("%q: exit code %d, want 1", args, code)
		}
		want := fmt.Sprintf("freshet: %s %s: address already in use (choose another with %s)", flag, taken, flag)
		if got := p.output(); got != want {
			t.Errorf("%q: printed\n%s\nwant\n%s", args, got, want)
		}
	}
	f("-listen", "-listen", taken, "-admin", "off")
	f("-admin", "-listen", "127.0.0.1:0", "-admin", taken)
	f("-listen", "-upstream", "http://127.0.0.1:1", "-listen", taken, "-admin", "off")
}

func TestGateway(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "upstream ", r.URL.Path) })
	p := launch(t, []string{"FRESHET_ADMIN_TOKEN=s3cret"}, "-upstream", up, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-max-bytes", "64MiB")
	base, admin := "http://"+p.printed(mainAddress), "http://"+p.printed(adminAddress)
	if code, body := get(t, base+"/x"); code != 200 || body != "upstream /x" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := get(t, admin+"/metrics"); code != 401 {
		t.Errorf("/metrics without the token: %d", code)
	}
	req, _ := http.NewRequest("GET", admin+"/metrics", nil)
	req.Header.Set("Authorization", "Bearer s3cret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if !bytes.Contains(metrics, []byte(`freshet_max_bytes{cache="default"} 67108864`)) {
		t.Errorf("metrics: %s", metrics)
	}
	_ = p.Process.Signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestReloadOnHangup(t *testing.T) {
	a := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a") })
	b := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "b") })
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	config := func(url string) string {
		return "listen: 127.0.0.1:0\nadmin: off\nupstreams: {app: {url: '" + url + "'}}\nroutes: [{pattern: /*, upstream: app}]\n"
	}
	write(t, file, config(a))
	p := launch(t, nil, "-config", file)
	base := "http://" + p.printed(mainAddress)
	if _, body := get(t, base); body != "a" {
		t.Fatalf("got %q from a", body)
	}
	write(t, file, config(b))
	_ = p.Process.Signal(syscall.SIGHUP)
	p.printed("msg=reloaded")
	if _, body := get(t, base); body != "b" {
		t.Errorf("after the reload: %q", body)
	}
	write(t, file, config(a)+"max_byte: 1\n")
	_ = p.Process.Signal(syscall.SIGHUP)
	why := p.printed(`level=ERROR msg="reload failed, the configuration before stays in use" error="(.*)"`)
	if !strings.HasPrefix(why, file+":5:1: max_byte: unknown key") {
		t.Errorf("said %s", why)
	}
	if _, body := get(t, base); body != "b" {
		t.Errorf("after the failed reload: %q", body)
	}
	write(t, file, config(a)+"max_bytes: 1GiB\n")
	_ = p.Process.Signal(syscall.SIGHUP)
	if keys := p.printed(`after a restart only" keys=(.*)`); keys != "[max_bytes]" {
		t.Errorf("keys that need a restart: %s", keys)
	}
}

// request sends one that its upstream holds until release is closed.
func hold(t *testing.T, args ...string) (p *process, release chan struct{}, got chan string) {
	t.Helper()
	arrived := make(chan struct{})
	release, got = make(chan struct{}), make(chan string, 1)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "whole")
	})
	p = launch(t, nil, append([]string{"-upstream", up, "-listen", "127.0.0.1:0", "-admin", "off"}, args...)...)
	base := "http://" + p.printed(mainAddress)
	go func() {
		resp, err := http.Post(base, "text/plain", nil)
		if err != nil {
			got <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got <- string(body)
	}()
	select {
	case <-arrived:
	case <-time.After(waitLimit):
		t.Fatal("the request did not arrive")
	}
	return p, release, got
}

func TestTermFinishesRequests(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p, release, got := hold(t)
		_ = p.Process.Signal(sig)
		p.printed("msg=draining")
		close(release)
		if body := <-got; body != "whole" {
			t.Errorf("%v: got %q", sig, body)
		}
		if code := p.code(); code != 0 {
			t.Errorf("%v: exit code %d, want 0", sig, code)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p, release, got := hold(t, "-drain-timeout", "10m")
	defer close(release)
	_ = p.Process.Signal(syscall.SIGTERM)
	p.printed("msg=draining")
	_ = p.Process.Signal(syscall.SIGTERM)
	if code := p.code(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	<-got
}

func TestDrainTimeoutEndsWithAnError(t *testing.T) {
	p, release, got := hold(t, "-drain-timeout", "50ms")
	defer close(release)
	_ = p.Process.Signal(syscall.SIGTERM)
	if code := p.code(); code != 1 || !strings.Contains(p.output(), "cut off") {
		t.Errorf("exit code %d", code)
	}
	<-got
}

func TestDemo(t *testing.T) {
	p := launch(t, []string{"GOMEMLIMIT="}, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0")
	naive := p.printed(`curl .* (http://127\.0\.0\.1:\d+/naive/page/1)$`)
	fast := p.printed(`curl .* (http://127\.0\.0\.1:\d+/fast/page/1)$`)
	metrics := p.printed(`admin +(http://\S+/metrics)$`)
	p.printed(`hey .*/naive/page/1$`)
	p.printed(`hey .*/fast/page/1$`)
	code, slow := get(t, naive)
	if code != 200 || !strings.Contains(slow, `"user"`) {
		t.Fatalf("naive: %d %q", code, slow)
	}
	for range 2 {
		if _, page := get(t, fast); page != slow {
			t.Errorf("fast page\n%s\nnaive page\n%s", page, slow)
		}
	}
	p.printed(`naive +\d+ req/s  p50 \S+  p95 \S+  origin calls 3`)
	p.printed(`fast +\d+ req/s  p50 \S+  p95 \S+  hits \S+%  origin calls 3`)
	if code, text := get(t, metrics); code != 200 || !strings.Contains(text, `route="/fast/page/{id}",outcome="hit"`) {
		t.Errorf("metrics: %d", code)
	} else if m := regexp.MustCompile(`(?m)^go_memlimit_bytes (\S+)$`).FindStringSubmatch(text); m == nil {
		t.Error("no go_memlimit_bytes")
	} else if limit, err := strconv.ParseFloat(m[1], 64); err != nil || limit > 2<<30 {
		t.Errorf("memory limit %s, %v", m[1], err)
	}
	if code, text := get(t, strings.Replace(metrics, "/metrics", "/debug/pprof/", 1)); code != 200 || !strings.Contains(text, "goroutine") {
		t.Errorf("pprof: %d", code)
	}
	_ = p.Process.Signal(syscall.SIGHUP)
	p.printed(`reload failed.*the demo has no -config`)
	_ = p.Process.Signal(os.Interrupt)
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestComplain(t *testing.T) {
	var b bytes.Buffer
	(&flags{}).complain(&b, errors.Join(errors.New("one"), errors.Join(errors.New("two"), errors.New("three"))))
	if got, want := b.String(), "freshet: one\nfreshet: two\nfreshet: three\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
