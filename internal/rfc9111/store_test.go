package rfc9111

import (
	"net/http"
	"reflect"
	"testing"
	"time"
)

// storeCase returns a response with the given fields as Store sees it.
func storeCase(status int, fields ...string) StoreInput {
	h := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	cc := ParseCacheControl(h["Cache-Control"])
	return StoreInput{
		Method: "GET", Request: http.Header{}, Status: status, Header: h, Control: cc,
		Freshness: Lifetime(h, cc, testNow, testNow),
	}
}

func TestStore(t *testing.T) {
	const cc, fresh = "Cache-Control", "max-age=60"
	type edit = func(*StoreInput)
	ttl := func(in *StoreInput) { in.HasTTL = true }
	authorized := func(in *StoreInput) { in.Request.Set("Authorization", "Basic x") }
	method := func(m string) edit { return func(in *StoreInput) { in.Method = m } }
	for _, tt := range []struct {
		name string
		in   StoreInput
		edit edit
		want Reason
	}{
		{"fresh", storeCase(200, cc, fresh), nil, Storable},
		{"Expires", storeCase(200, "Expires", testNow.Add(time.Hour).Format(http.TimeFormat)), nil, Storable},
		{"unlabelled", storeCase(200), nil, ReasonNoFreshness},
		{"unlabelled, with a TTL", storeCase(200), ttl, Storable},
		{"only public", storeCase(200, cc, "public"), nil, ReasonNoFreshness},

		{"HEAD has no content", storeCase(200, cc, fresh), method("HEAD"), ReasonMethod},
		{"POST", storeCase(200, cc, fresh), method("POST"), ReasonMethod},
		{"methods are case-sensitive", storeCase(200, cc, fresh), method("get"), ReasonMethod},

		{"not final", storeCase(103, cc, fresh), nil, ReasonStatus},
		{"no status code", storeCase(600, cc, fresh), nil, ReasonStatus},
		{"206", storeCase(206, cc, fresh), nil, ReasonPartial},
		{"304", storeCase(304, cc, fresh), nil, ReasonStatus},
		{"416 is about one range", storeCase(416, cc, fresh), nil, ReasonStatus},
		{"429 must not be stored", storeCase(429, cc, fresh), ttl, ReasonStatus},
		{"unknown 2xx", storeCase(299, cc, fresh), nil, Storable},
		{"unknown 5xx", storeCase(599, cc, fresh), nil, Storable},
		{"unknown 5xx, must-understand", storeCase(599, cc, "max-age=60, must-understand"), nil, ReasonMustUnderstand},
		{"must-understand lifts no-store", storeCase(200, cc, "max-age=60, must-understand, no-store"), nil, Storable},
		{"not if not understood", storeCase(599, cc, "max-age=60, must-understand, no-store"), nil, ReasonMustUnderstand},

		{"no-store", storeCase(200, cc, "max-age=60, no-store"), nil, ReasonNoStore},
		{"no-store, with a TTL", storeCase(200, cc, "no-store"), ttl, ReasonNoStore},
		{"malformed, with a TTL", storeCase(200, cc, "private; max-age=60"), ttl, ReasonNoStore},
		{"request no-store that counts", storeCase(200, cc, fresh), func(in *StoreInput) { in.RequestControl.NoStore = true }, ReasonRequestNoStore},
		{"request no-store that does not", storeCase(200, cc, fresh), func(in *StoreInput) { in.Request.Set(cc, "no-store") }, Storable},

		{"private", storeCase(200, cc, "private, max-age=60"), nil, ReasonPrivate},
		{"private, with a TTL", storeCase(200, cc, "private"), ttl, ReasonPrivate},
		{"private and public: the stricter", storeCase(200, cc, "public, private, max-age=60"), nil, ReasonPrivate},
		{"private fields are stripped", storeCase(200, cc, `private="x-user", max-age=60`), nil, Storable},
		{"private fields that cannot be", storeCase(200, cc, `private="content-encoding", max-age=60`), nil, ReasonPrivate},

		{"Authorization", storeCase(200, cc, fresh), authorized, ReasonAuthorization},
		{"Authorization, with a TTL", storeCase(200), func(in *StoreInput) { ttl(in); authorized(in) }, ReasonAuthorization},
		{"Authorization, public", storeCase(200, cc, "max-age=60, public"), authorized, Storable},
		{"Authorization, must-revalidate", storeCase(200, cc, "max-age=60, must-revalidate"), authorized, Storable},
		{"Authorization, s-maxage", storeCase(200, cc, "s-maxage=60"), authorized, Storable},
		{"Authorization, proxy-revalidate permits nothing", storeCase(200, cc, "max-age=60, proxy-revalidate"), authorized, ReasonAuthorization},

		{"Set-Cookie", storeCase(200, cc, "public, max-age=60", "Set-Cookie", "a=b"), nil, ReasonSetCookie},
		{"Set-Cookie, with a TTL", storeCase(200, "Set-Cookie", "a=b"), ttl, ReasonSetCookie},
		{"Set-Cookie, allowed", storeCase(200, cc, fresh, "Set-Cookie", "a=b"), func(in *StoreInput) { in.AllowSetCookie = true }, Storable},
		{"Set-Cookie, stripped", storeCase(200, cc, `max-age=60, no-cache="set-cookie"`, "Set-Cookie", "a=b"), nil, Storable},
		{"Set-Cookie, another one stripped", storeCase(200, cc, `max-age=60, no-cache="set-cookie2"`, "Set-Cookie", "a=b"), nil, ReasonSetCookie},

		{"Vary: *", storeCase(200, cc, fresh, "Vary", "*"), nil, ReasonVaryStar},
		{"Vary: * on another line", storeCase(200, cc, fresh, "Vary", "Foo", "Vary", "Bar, *"), ttl, ReasonVaryStar},
		{"Trailer", storeCase(200, cc, fresh, "Trailer", "Digest"), nil, ReasonTrailer},
		{"trailer sent without notice", storeCase(200, cc, fresh, http.TrailerPrefix+"Digest", "x"), nil, ReasonTrailer},

		{"no-cache, with a TTL", storeCase(200, cc, "no-cache"), ttl, ReasonNoCache},
		{"no-cache, can validate", storeCase(200, cc, "no-cache", "ETag", `"a"`), nil, Storable},
		{"no-cache, nothing to validate by", storeCase(200, cc, "no-cache"), nil, ReasonNoCache},
		{"no-cache, status without permission", storeCase(403, cc, "no-cache", "ETag", `"a"`), nil, ReasonNoFreshness},
		{"no-cache fields are stripped", storeCase(200, cc, `no-cache="a, b", max-age=60`), nil, Storable},
		{"no-cache fields that cannot be", storeCase(200, cc, `no-cache="vary", max-age=60`), nil, ReasonNoCache},

		{"expired", storeCase(200, cc, "max-age=0"), nil, ReasonExpired},
		{"expired, a TTL does not help", storeCase(200, cc, "max-age=0"), ttl, ReasonExpired},
		{"Expires: 0, a TTL does not help", storeCase(200, "Expires", "0"), ttl, ReasonExpired},
		{"expired on arrival", storeCase(200, cc, fresh), func(in *StoreInput) { in.Age = time.Minute }, ReasonExpired},
		{"expired, its own window", storeCase(200, cc, "max-age=0, stale-while-revalidate=60"), nil, Storable},
		{"expired, the policy's window", storeCase(200, cc, "max-age=0"), func(in *StoreInput) { in.Stale.IfError = time.Hour }, Storable},
		{"expired, window past too", storeCase(200, cc, "max-age=1, stale-if-error=60"), func(in *StoreInput) { in.Age = time.Hour }, ReasonExpired},
		{"expired, window forbidden", storeCase(200, cc, "max-age=0, must-revalidate, stale-while-revalidate=60"), nil, ReasonExpired},
		{"expired, can validate", storeCase(200, cc, "max-age=0", "Last-Modified", testNow.Format(http.TimeFormat)), nil, Storable},
		{"no overflow", storeCase(200, cc, "max-age=99999999999, stale-if-error=99999999999"), nil, Storable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.edit != nil {
				tt.edit(&tt.in)
			}
			if got := Store(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStripFields(t *testing.T) {
	cc := ParseCacheControl([]string{`private="a", no-cache="b, c"`})
	if got := StripFields(cc); !reflect.DeepEqual(got, []string{"A", "B", "C"}) {
		t.Errorf("got %q", got)
	}
	if got := StripFields(ParseCacheControl([]string{"max-age=1"})); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestStale(t *testing.T) {
	policy := StaleWindows{WhileRevalidate: time.Minute, IfError: time.Hour}
	for _, tt := range []struct {
		name      string
		control   string
		want      StaleWindows
		forbidden bool
	}{
		{"the policy's", "max-age=1", policy, false},
		{"its own wins when longer", "stale-while-revalidate=100", StaleWindows{100 * time.Second, time.Hour}, false},
		{"its own wins when zero", "stale-if-error=0", StaleWindows{time.Minute, 0}, false},
		{"must-revalidate", "must-revalidate, stale-if-error=60", StaleWindows{}, true},
		{"proxy-revalidate", "proxy-revalidate, stale-if-error=60", StaleWindows{}, true},
		{"no-cache", "no-cache, stale-if-error=60", StaleWindows{}, true},
		{"qualified no-cache is about fields", `no-cache="a"`, policy, false},
		{"s-maxage", "s-maxage=1", StaleWindows{}, true},
		{"s-maxage with a window of 0", "s-maxage=1, stale-if-error=0", StaleWindows{}, true},
		{"s-maxage with its own window, and only that", "s-maxage=1, stale-while-revalidate=5", StaleWindows{5 * time.Second, 0}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cc := ParseCacheControl([]string{tt.control})
			if got := Stale(cc, policy); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if got := StaleForbidden(cc); got != tt.forbidden {
				t.Errorf("StaleForbidden = %t", got)
			}
		})
	}
}

// The statuses that a conformance suite stores with explicit freshness.
func TestStatus(t *testing.T) {
	for _, status := range []int{200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599} {
		if got := Store(storeCase(status, "Cache-Control", "max-age=60")); got != Storable {
			t.Errorf("%d: %q", status, got)
		}
	}
	for _, status := range []int{299, 499, 599, 206, 304, 412, 416, 100, 0, 999} {
		if UnderstoodStatus(status) {
			t.Errorf("%d is understood", status)
		}
	}
	for _, status := range []int{201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599} {
		if HeuristicStatus(status) {
			t.Errorf("%d is heuristically cacheable", status)
		}
	}
}
