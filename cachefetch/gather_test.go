package cachefetch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// T6: one budget from the inbound deadline, a limit per call, what is missing
// is marked, and the first hard error cancels.
func TestT6PartsAreMarkedMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inbound, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		g := NewGather(inbound, GatherOptions{Budget: time.Minute, Reserve: 200 * time.Millisecond, PartTimeout: 500 * time.Millisecond})
		user := Require(g, "user", after(300*time.Millisecond, "Alice", nil))
		prefs := Allow(g, "preferences", after(400*time.Millisecond, 7, nil))
		ads := Allow(g, "ads", after(600*time.Millisecond, "ads", nil)) // over its own limit
		news := Allow(g, "news", after(0, "", errUpstream))
		deaf := Allow(g, "deaf", func(context.Context) (string, error) { time.Sleep(2 * time.Second); return "late", nil })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 800*time.Millisecond { // the inbound second, less the reserve
			t.Errorf("took %v", took)
		}
		if user.Value() != "Alice" || user.Err() != nil || prefs.Value() != 7 || prefs.Err() != nil {
			t.Errorf("user %q, %v; preferences %d, %v", user.Value(), user.Err(), prefs.Value(), prefs.Err())
		}
		if news.Err() != errUpstream {
			t.Errorf("news: %v", news.Err())
		}
		for _, p := range []*Part[string]{ads, deaf} {
			if err := p.Err(); !errors.Is(err, ErrMissing) || !errors.Is(err, context.DeadlineExceeded) || p.Value() != "" {
				t.Errorf("%q, %v", p.Value(), err)
			}
		}
		if got := fmt.Sprint(g.Missing()); got != "[ads news deaf]" {
			t.Errorf("missing %s", got)
		}
		time.Sleep(2 * time.Second) // what comes late changes nothing
		synctest.Wait()
		if deaf.Value() != "" || deaf.Err() == nil {
			t.Errorf("later: %q, %v", deaf.Value(), deaf.Err())
		}
	})
}

func TestGatherRequiredPartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGather(t.Context(), GatherOptions{})
		Require(g, "user", after(time.Second, "", errUpstream))
		ended := time.Duration(0)
		Allow(g, "ads", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			ended = time.Since(begin)
			return 0, ctx.Err()
		})
		if err := g.Wait(); err != errUpstream {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if ended != time.Second || time.Since(begin) != time.Second {
			t.Errorf("the other part was told after %v", ended)
		}
	})
}

func TestGatherRequiredPartIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGather(t.Context(), GatherOptions{})
		Require(g, "user", after(time.Hour, "", nil))
		if err := g.Wait(); !errors.Is(err, ErrMissing) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != defaultGatherBudget {
			t.Errorf("took %v", took)
		}
	})
}

func TestGatherClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g := NewGather(ctx, GatherOptions{})
		Allow(g, "ads", after(time.Hour, 1, nil))
		time.AfterFunc(time.Second, cancel)
		if err := g.Wait(); err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

func TestGatherLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGather(t.Context(), GatherOptions{Limit: 2, Budget: 2500 * time.Millisecond})
		for i := range 6 {
			Allow(g, fmt.Sprint(i), after(time.Second, i, nil))
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 2500*time.Millisecond || len(g.Missing()) != 2 {
			t.Errorf("took %v, missing %v", took, g.Missing())
		}
	})
}
