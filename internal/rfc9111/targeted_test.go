package rfc9111

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func TestParseTargeted(t *testing.T) {
	seconds := func(n int) Delta { return Delta{D: time.Duration(n) * time.Second, Set: true} }
	for _, tt := range []struct {
		lines []string
		want  CacheControl
		ok    bool
	}{
		{[]string{"max-age=60"}, CacheControl{MaxAge: seconds(60)}, true},
		{[]string{"max-age=60;x=1"}, CacheControl{MaxAge: seconds(60)}, true},
		{[]string{"max-age=60", "no-cache, s-maxage=5"}, CacheControl{MaxAge: seconds(60), NoCache: true, SMaxAge: seconds(5)}, true},
		{[]string{"max-age=1, max-age=60"}, CacheControl{MaxAge: seconds(60)}, true}, // RFC 9651 3.2: the last one
		{[]string{"max-age=-1"}, CacheControl{MaxAge: seconds(0)}, true},
		{[]string{"max-age=1.5"}, CacheControl{MaxAge: seconds(0)}, true},
		{[]string{`max-age="60"`}, CacheControl{MaxAge: seconds(0)}, true},
		{[]string{"max-age=sixty"}, CacheControl{MaxAge: seconds(0)}, true},
		{[]string{"max-age"}, CacheControl{MaxAge: seconds(0)}, true},
		{[]string{"max-age=(60)"}, CacheControl{MaxAge: seconds(0)}, true},
		{[]string{"max-age=?0"}, CacheControl{}, true},
		{[]string{"max-age=999999999999999"}, CacheControl{MaxAge: Delta{D: MaxDelta, Set: true}}, true},
		{[]string{"no-store, unknown=3, public"}, CacheControl{NoStore: true, Public: true}, true},
		{[]string{"no-store=?0, public=1"}, CacheControl{}, true},
		{[]string{`private="X-User, set-cookie"`}, CacheControl{PrivateFields: []string{"X-User", "Set-Cookie"}}, true},
		{[]string{"private=1"}, CacheControl{Private: true}, true},
		{[]string{`private=""`}, CacheControl{Private: true}, true},
		{[]string{"private=(a b)"}, CacheControl{Private: true}, true},
		{[]string{"must-revalidate, stale-if-error=5"}, CacheControl{MustRevalidate: true, StaleIfError: seconds(5)}, true},

		{[]string{""}, CacheControl{}, false},
		{[]string{" "}, CacheControl{}, false},
		{[]string{"Max-Age=60"}, CacheControl{}, false}, // keys are in lower case
		{[]string{"max-age =60"}, CacheControl{}, false},
		{[]string{"max-age= 60"}, CacheControl{}, false},
		{[]string{"max-age=60,"}, CacheControl{}, false},
		{[]string{"max-age=60,,no-cache"}, CacheControl{}, false},
		{[]string{"max-age=60", "&"}, CacheControl{}, false},
		{[]string{`private="a`}, CacheControl{}, false},
		{[]string{"max-age=1000000000000000"}, CacheControl{}, false}, // 16 digits are no integer
		{[]string{"max-age=60; no-cache=x, &"}, CacheControl{}, false},
	} {
		if got, ok := ParseTargeted(tt.lines); ok != tt.ok || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v %v, want %+v %v", tt.lines, got, ok, tt.want, tt.ok)
		}
	}
}

func TestResponseControl(t *testing.T) {
	targets := []string{"Own-Cache-Control", "Cdn-Cache-Control"}
	for _, tt := range []struct {
		name     string
		h        http.Header
		maxAge   time.Duration
		targeted bool
	}{
		{"none", fields("Cache-Control", "max-age=1"), 1, false},
		{"the first", fields("CDN-Cache-Control", "max-age=2", "Own-Cache-Control", "max-age=3", "Cache-Control", "max-age=1"), 3, true},
		{"the first valid", fields("CDN-Cache-Control", "max-age=2", "Own-Cache-Control", "max-age=", "Cache-Control", "max-age=1"), 2, true},
		{"the first that is not empty", fields("CDN-Cache-Control", "max-age=2", "Own-Cache-Control", ""), 2, true},
		{"none valid", fields("CDN-Cache-Control", "max-age=2,", "Cache-Control", "max-age=1"), 1, false},
		{"not on the list", fields("Other-Cache-Control", "max-age=2", "Cache-Control", "max-age=1"), 1, false},
	} {
		cc, targeted := ResponseControl(tt.h, targets)
		if cc.MaxAge.D != tt.maxAge*time.Second || targeted != tt.targeted {
			t.Errorf("%s: %v %v, want %v s %v", tt.name, cc.MaxAge.D, targeted, tt.maxAge, tt.targeted)
		}
	}
}

// Whatever is not a dictionary grants nothing, and what is one is read as its
// members say.
func FuzzParseTargeted(f *testing.F) {
	for _, s := range []string{"max-age=60", `private="a, b"`, "max-age=1.5, no-store", "max-age=60,", "no-cache=?0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cc, ok := ParseTargeted([]string{s})
		d, err := httpsfv.UnmarshalDictionary([]string{s})
		if ok != (err == nil && len(d.Names()) > 0) {
			t.Fatalf("%q: ok is %v, error %v", s, ok, err)
		}
		if !ok {
			if !reflect.DeepEqual(cc, CacheControl{}) {
				t.Fatalf("%q: %+v", s, cc)
			}
			return
		}
		if member, present := d.Get("max-age"); present {
			item, _ := member.(httpsfv.Item)
			n, integer := item.Value.(int64)
			if want := min(time.Duration(max(n, 0))*time.Second, MaxDelta); integer && n < 1<<31 && cc.MaxAge.D != want || !integer && cc.MaxAge.D != 0 {
				t.Fatalf("%q: %+v", s, cc.MaxAge)
			}
		}
	})
}
