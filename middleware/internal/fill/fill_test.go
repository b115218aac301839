package fill

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-go/freshet/internal/engine"
)

// A probe is a fill with what its run was told, and the budget that it takes of.
type probe struct {
	*Fill[string]
	head   Head
	budget int64

	mu       sync.Mutex
	reserved int64    // guarded by mu
	unfit    []string // guarded by mu
}

// newProbe returns the fill of a run whose responses get this head.
func newProbe(t *testing.T, head Head, limit int64) *probe {
	p := &probe{head: head, budget: 1 << 20}
	ctx := engine.Detach(t.Context(), time.Hour, nil)
	t.Cleanup(func() { ctx.Cancel(context.Canceled) })
	p.Fill = New(ctx, Hooks[string]{
		Decide: func(status int, _ http.Header) (Head, string) {
			h := p.head
			h.Status = status
			return h, "verdict"
		},
		Reserve: func(n int64) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.reserved+n > p.budget {
				return false
			}
			p.reserved += n
			return true
		},
		Release: func(n int64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.reserved -= n
		},
		Unfit: func(reason string, _ bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.unfit = append(p.unfit, reason)
		},
	}, limit, false)
	return p
}

func (p *probe) recorder() *Recorder[string] {
	return NewRecorder(p.Fill, make(http.Header), func(h http.Header) http.Header { return h })
}

func (p *probe) held() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reserved
}

// reader returns a client of the fill, which writes what it is sent to w.
func (p *probe) reader(t *testing.T, w http.ResponseWriter, leader bool) *Reader[string] {
	rd := &Reader[string]{
		Fill: p.Fill, W: w, Ctx: t.Context(), Leader: leader,
		Chooses: func(Head, string) Choice { return Take },
		Begin: func(h Head, _ string, _ Known) (http.ResponseWriter, string) {
			w.WriteHeader(h.Status)
			return w, ""
		},
		Lend: func(h Head, _ string, _ http.Header) http.ResponseWriter {
			w.WriteHeader(h.Status)
			return w
		},
	}
	if leader {
		rd.Enter()
	} else if !p.Join(rd, func(Head, string) bool { return true }) {
		t.Error("not joined")
	}
	return rd
}

var shared = Head{Kind: Shared, Length: -1}

// States only grow, and the last two refuse whatever comes.
func TestStatesGrowAndTheLastRefuseWrites(t *testing.T) {
	for _, row := range []struct {
		name  string
		do    func(p *probe, r *Recorder[string])
		clean bool
		want  State
		kept  bool
	}{
		{"whole", func(_ *probe, r *Recorder[string]) { _, _ = r.Write([]byte("x")) }, true, Complete, true},
		{"of the declared length", func(p *probe, r *Recorder[string]) { p.head.Length = 1; _, _ = r.Write([]byte("x")) }, true, Complete, true},
		{"too short", func(p *probe, r *Recorder[string]) { p.head.Length = 2; _, _ = r.Write([]byte("x")) }, true, Broken, false},
		{"too long", func(p *probe, r *Recorder[string]) { p.head.Length = 1; _, _ = r.Write([]byte("xy")) }, true, Complete, true},
		{"a panic", func(_ *probe, r *Recorder[string]) { _, _ = r.Write([]byte("x")) }, false, Broken, false},
		{"an error after the header", func(_ *probe, r *Recorder[string]) { _, _ = r.Write([]byte("x")); r.WriteHeader(500) }, true, Broken, false},
		{"the end of its context", func(p *probe, r *Recorder[string]) { _, _ = r.Write([]byte("x")); p.context.Cancel(context.Canceled) }, true, Broken, false},
		{"silence at the end of its context", func(p *probe, _ *Recorder[string]) { p.context.Cancel(context.Canceled) }, true, Broken, false},
		{"a lifetime too long", func(p *probe, r *Recorder[string]) { _, _ = r.Write([]byte("x")); p.Expire() }, true, Complete, false},
		{"not to be kept", func(p *probe, r *Recorder[string]) { p.head.Reason = "no"; _, _ = r.Write([]byte("x")) }, true, Complete, false},
		{"no body allowed", func(_ *probe, r *Recorder[string]) { r.WriteHeader(204); _, _ = r.Write([]byte("x")) }, true, Complete, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newProbe(t, shared, 1<<10)
			r := p.recorder()
			if p.State() != Waiting || !p.Join(nil, nil) {
				t.Error("not waiting")
			}
			row.do(p, r)
			before := p.State()
			r.Finish(row.clean)
			if got := p.State(); got != row.want || got < before {
				t.Errorf("state %d, want %d", got, row.want)
			}
			body, reserved, kept := p.Kept()
			if kept != row.kept || reserved != p.held() {
				t.Errorf("kept %v; %d bytes reserved, %d said", kept, p.held(), reserved)
			}
			whole := bytes.Clone(body)
			r.WriteHeader(500)
			n, err := r.Write([]byte("late"))
			m, werr := p.write([]byte("late")) // past the recorder
			if n != 0 || m != 0 || err != ErrOver || werr != ErrOver || r.FlushError() != ErrOver {
				t.Errorf("a late write: %d %v, %d %v", n, err, m, werr)
			}
			if _, _, err := r.Hijack(); err == nil {
				t.Error("a late Hijack")
			}
			r.Finish(true)
			p.confirm("late")
			if body, again, _ := p.Kept(); p.State() != row.want || !bytes.Equal(body, whole) || again != 0 {
				t.Errorf("afterwards: state %d, %q, %d reserved", p.State(), body, again)
			}
		})
	}
}

// Followers are told nothing before the leader's header is out, and nothing of a
// response that turns out then to be the leader's alone.
func TestFollowersWaitForTheLeadersHeader(t *testing.T) {
	for _, reason := range []string{"", "set-cookie"} {
		synctest.Test(t, func(t *testing.T) {
			p := newProbe(t, shared, 1<<10)
			out := make(chan struct{})
			leader := p.reader(t, httptest.NewRecorder(), true)
			leader.Begin = func(Head, string, Known) (http.ResponseWriter, string) { <-out; return leader.W, reason }
			var asked []Kind
			w := httptest.NewRecorder()
			follower := p.reader(t, w, false)
			follower.Chooses = func(h Head, _ string) Choice {
				asked = append(asked, h.Kind)
				if h.Kind == Private {
					return AskAlone
				}
				return Take
			}
			var wg sync.WaitGroup
			wg.Go(func() { leader.Run(); leader.Leave() })
			var how Ending
			wg.Go(func() { how = follower.Run(); follower.Leave() })
			wg.Go(func() { r := p.recorder(); _, _ = r.Write([]byte("body")); r.Finish(true) })
			synctest.Wait()
			if p.State() != Judged || asked != nil {
				t.Errorf("state %d, and a follower was asked of %v", p.State(), asked)
			}
			close(out)
			wg.Wait()
			if want := map[string]Ending{"": Delivered, "set-cookie": Alone}[reason]; how != want || (reason == "") != (w.Body.String() == "body") {
				t.Errorf("%q: %d %q", reason, how, w.Body)
			}
			if _, _, kept := p.Kept(); kept != (reason == "") {
				t.Errorf("%q: kept %v", reason, kept)
			}
		})
	}
}

// panicky panics as soon as a header is written.
type panicky struct{ *httptest.ResponseRecorder }

func (panicky) WriteHeader(int) { panic(http.ErrAbortHandler) }

// A ResponseWriter outside that panics in WriteHeader leaves no lock locked, and
// nobody waiting: neither the run nor those who read.
func TestPanicOfAWriterLeavesNothingLocked(t *testing.T) {
	for name, head := range map[string]Head{"shared": shared, "private": {Kind: Private, Reason: "private", Length: -1}, "too large": {Kind: Shared, Length: 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProbe(t, head, 1<<10)
				leader := p.reader(t, panicky{httptest.NewRecorder()}, true)
				var wg sync.WaitGroup
				var raised, inRun any
				wg.Go(func() {
					defer leader.Leave()
					defer func() { raised = recover() }()
					leader.Run()
				})
				wg.Go(func() {
					r := p.recorder()
					clean := false
					defer func() { r.Finish(clean) }()
					defer func() { inRun = recover() }()
					_, _ = r.Write(make([]byte, 100))
					clean = true
				})
				wg.Wait()
				if (raised == nil) == (inRun == nil) {
					t.Errorf("the client's goroutine raised %v, the run's %v", raised, inRun)
				}
				if !p.mu.TryLock() || !p.Fill.mu.TryLock() || !p.controlling.TryLock() {
					t.Error("a lock is held")
				}
			})
		})
	}
}

// A gate is a client that reads when it is let.
type gate struct {
	*httptest.ResponseRecorder
	open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.ResponseRecorder.Write(p)
}

// Of a body that is not kept no more is held than the window, whatever its size
// and whoever does not read; it waits for its one client, and for others no
// longer than a while.
func TestSlidingWindowIsBounded(t *testing.T) {
	const size, limit = 1 << 20, 1 << 10
	for _, part := range []int{100, 4 << 10, 100 << 10, size} {
		for _, others := range []int{0, 3} {
			t.Run(fmt.Sprint(part, " ", others), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newProbe(t, shared, limit)
					want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
					slow := &gate{httptest.NewRecorder(), make(chan struct{})}
					leader := p.reader(t, slow, true)
					ends := make([]Ending, 1+others)
					clients := make([]*httptest.ResponseRecorder, others)
					var wg sync.WaitGroup
					wg.Go(func() { ends[0] = leader.Run(); leader.Leave() })
					for i := range others {
						clients[i] = httptest.NewRecorder()
						rd := p.reader(t, clients[i], false)
						wg.Go(func() { ends[1+i] = rd.Run(); rd.Leave() })
					}
					wg.Go(func() {
						r := p.recorder()
						r.WriteHeader(200)
						time.Sleep(10 * time.Millisecond) // until all are there
						for rest := want; len(rest) > 0; {
							n := min(part, len(rest))
							if m, err := r.Write(rest[:n]); m != n || err != nil {
								t.Errorf("wrote %d of %d: %v", m, n, err)
							}
							rest = rest[n:]
							p.Fill.mu.Lock()
							if held := cap(p.body); held > streamed+limit {
								t.Errorf("%d bytes are held", held)
							}
							p.Fill.mu.Unlock()
						}
						r.Finish(true)
					})
					time.Sleep(2 * stall)
					if state := p.State(); others == 0 && state != Body {
						t.Errorf("state %d, while its one client does not read", state)
					}
					close(slow.open)
					wg.Wait()
					if others == 0 && (ends[0] != Delivered || !bytes.Equal(slow.Body.Bytes(), want)) || others > 0 && ends[0] != CutOff {
						t.Errorf("who did not read: %d, %d bytes", ends[0], slow.Body.Len())
					}
					for i, w := range clients {
						if ends[1+i] != Delivered || !bytes.Equal(w.Body.Bytes(), want) {
							t.Errorf("client %d: %d, %d bytes", i, ends[1+i], w.Body.Len())
						}
					}
					if _, reserved, kept := p.Kept(); kept || p.held() != reserved || reserved > limit {
						t.Errorf("kept %v, %d reserved, %d said", kept, p.held(), reserved)
					}
				})
			})
		}
	}
}
