package rfc9111

import (
	"net/http"
	"testing"
	"time"
)

// fields makes a header of names and values in turn.
func fields(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

const (
	tuesday   = "Tue, 15 Nov 1994 12:45:26 GMT"
	wednesday = "Wed, 16 Nov 1994 12:45:26 GMT"
)

func TestSetValidators(t *testing.T) {
	for _, tt := range []struct {
		name          string
		stored        http.Header
		tag, modified string
	}{
		{"none", fields(), "", ""},
		{"both", fields("ETag", `"a"`, "Last-Modified", tuesday), `"a"`, tuesday},
		{"weak", fields("ETag", `W/"a"`), `W/"a"`, ""},
		{"without quotes, as it came", fields("ETag", "abc"), "abc", ""},
		{"date alone", fields("Last-Modified", tuesday), "", tuesday},
		{"two tags are none", fields("ETag", `"a"`, "ETag", `"b"`), "", ""},
		{"two tags in one line are none", fields("ETag", `"a", "b"`), "", ""},
		{"unclosed", fields("ETag", `"a`), "", ""},
		{"no date", fields("Last-Modified", "yesterday"), "", ""},
		{"two dates", fields("Last-Modified", tuesday, "Last-Modified", wednesday), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := http.Header{}
			got := SetValidators(request, tt.stored)
			if want := tt.tag != "" || tt.modified != ""; got != want || HasValidator(tt.stored) != want {
				t.Errorf("SetValidators = %v, HasValidator = %v, want %v", got, HasValidator(tt.stored), want)
			}
			if tag, modified := request.Get("If-None-Match"), request.Get("If-Modified-Since"); tag != tt.tag || modified != tt.modified {
				t.Errorf("asked by %q and %q, want %q and %q", tag, modified, tt.tag, tt.modified)
			}
			if got && !NotModified(request, of(tt.stored), time.Time{}) {
				t.Error("the stored response does not match its own validators")
			}
		})
	}
}

func TestFreshens(t *testing.T) {
	both := fields("ETag", `"a"`, "Last-Modified", tuesday)
	weak := fields("ETag", `W/"a"`)
	date := fields("Last-Modified", tuesday)
	for _, tt := range []struct {
		name        string
		stored      http.Header
		notModified http.Header
		want        bool
	}{
		{"the same tag", both, fields("ETag", `"a"`), true},
		{"another tag", both, fields("ETag", `"b"`), false},
		{"another tag, the same date", both, fields("ETag", `"b"`, "Last-Modified", tuesday), false},
		{"the same tag, another date", both, fields("ETag", `"a"`, "Last-Modified", wednesday), true},
		{"no validator", both, fields("Date", tuesday), true},
		{"a strong tag is not the weak one", weak, fields("ETag", `"a"`), false},
		{"a weak tag is the strong one", both, fields("ETag", `W/"a"`), true},
		{"the same weak tag", weak, fields("ETag", `W/"a"`), true},
		{"another weak tag", weak, fields("ETag", `W/"b"`), false},
		{"a tag where there was none", date, fields("ETag", `"a"`), false},
		{"the same date", date, fields("Last-Modified", tuesday), true},
		{"the same date in another format", date, fields("Last-Modified", "Tuesday, 15-Nov-94 12:45:26 GMT"), true},
		{"another date", date, fields("Last-Modified", wednesday), false},
		{"another date, but the tag that was sent was confirmed", both, fields("Last-Modified", wednesday), true},
		{"two tags", both, fields("ETag", `"a"`, "ETag", `"b"`), false},
	} {
		if got := Freshens(tt.stored, tt.notModified); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestUpdates(t *testing.T) {
	for name, want := range map[string]bool{
		"Cache-Control": true, "Date": true, "Etag": true, "Expires": true, "Content-Type": true, "Content-Location": true, "X-A": true,
		"Content-Length": false, "Content-Encoding": false, "Content-Range": false, "Content-Digest": false,
		"Connection": false, "Keep-Alive": false, "Proxy-Authenticate": false,
	} {
		if got := Updates(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
