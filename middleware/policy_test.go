package middleware

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPolicyErrors(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 8 << 20})
	for _, row := range []struct {
		name   string
		policy Policy
		want   []string // in the error: field and value
	}{
		{"TTL", Policy{TTL: -time.Second}, []string{"Policy.TTL: -1s: "}},
		{"StatusTTL", Policy{StatusTTL: map[int]time.Duration{404: -time.Second}}, []string{"Policy.StatusTTL[404]: -1s: "}},
		{"StatusTTL of an interim response", Policy{StatusTTL: map[int]time.Duration{100: 1}}, []string{"Policy.StatusTTL[100]: 1ns: "}},
		{"StatusTTL of a partial response", Policy{StatusTTL: map[int]time.Duration{206: time.Second}}, []string{"Policy.StatusTTL[206]: 1s: "}},
		{"StatusTTL of an answer to a condition", Policy{StatusTTL: map[int]time.Duration{304: time.Second}}, []string{"Policy.StatusTTL[304]: 1s: "}},
		{"StatusTTL of no status", Policy{StatusTTL: map[int]time.Duration{600: time.Second}}, []string{"Policy.StatusTTL[600]: 1s: "}},
		{"StaleWhileRevalidate", Policy{StaleWhileRevalidate: -1}, []string{"Policy.StaleWhileRevalidate: -1ns: "}},
		{"StaleIfError", Policy{StaleIfError: -1}, []string{"Policy.StaleIfError: -1ns: "}},
		{"HeuristicLimit", Policy{HeuristicLimit: -1}, []string{"Policy.HeuristicLimit: -1ns: "}},
		{"SoftTimeout", Policy{SoftTimeout: -1}, []string{"Policy.SoftTimeout: -1ns: "}},
		{"SetCookie", Policy{SetCookie: "Strip"}, []string{`Policy.SetCookie: "Strip": `}},
		{"RequestDirectives", Policy{RequestDirectives: "on"}, []string{`Policy.RequestDirectives: "on": `}},
		{"TargetedFields", Policy{TargetedFields: []string{"A", "B:"}}, []string{`Policy.TargetedFields: "B:": `}},
		{"FillTimeout", Policy{FillTimeout: -time.Minute}, []string{"Policy.FillTimeout: -1m0s: "}},
		{"WaitTimeout", Policy{WaitTimeout: -time.Minute}, []string{"Policy.WaitTimeout: -1m0s: "}},
		{"MaxBodyBytes", Policy{MaxBodyBytes: -5}, []string{"Policy.MaxBodyBytes: -5: "}},
		{"MaxBodyBytes beyond an entry", Policy{MaxBodyBytes: 8<<20 + 1}, []string{"Policy.MaxBodyBytes: 8388609: ", "Options.MaxBytes"}},
		{"MaxVariants", Policy{MaxVariants: -5}, []string{"Policy.MaxVariants: -5: "}},
		{"Query.Ignore beside Allow", Policy{Query: Query{Allow: []string{"a"}, Ignore: []string{"b"}}}, []string{"Policy.Query.Ignore: [b]: ", "Query.Allow"}},
		{"Query with an empty name", Policy{Query: Query{Allow: []string{"a", ""}}}, []string{`Policy.Query: "": `}},
		{"Query.Ignore with an empty name", Policy{Query: Query{Ignore: []string{""}}}, []string{`Policy.Query: "": `}},
		{"Headers", Policy{Headers: []string{"X-Ok", "X Bad"}}, []string{`Policy.Headers: "X Bad": `}},
		{"Headers with an empty name", Policy{Headers: []string{""}}, []string{`Policy.Headers: "": `}},
		{"Headers with a colon", Policy{Headers: []string{"X:"}}, []string{`Policy.Headers: "X:": `}},
		{"every error is told", Policy{TTL: -1, MaxVariants: -2, Headers: []string{"é"}}, []string{"Policy.TTL: -1ns", "Policy.MaxVariants: -2", `Policy.Headers: "é"`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := c.CheckPolicy(row.policy)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(row.want, "middleware: Policy.") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not contain %q", err, want)
				}
			}
			defer func() {
				if got := recover(); got == nil || fmt.Sprint(got) != err.Error() {
					t.Errorf("Handler panicked with %v, want %v", got, err)
				}
			}()
			c.Handler(row.policy)
		})
	}
}

func TestPolicyValid(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 8 << 20})
	for _, p := range []Policy{
		{},
		{TTL: time.Second, StatusTTL: map[int]time.Duration{404: 0, 500: time.Second, 200: time.Hour}},
		{MaxBodyBytes: c.opts.MaxBytes / 8},
		{Headers: []string{"accept-language", "X-!#$%&'*+-.^_`|~"}},
		{Query: Query{Allow: []string{"a"}, Sort: true}},
		{Query: Query{Ignore: []string{"*"}}},
		{SetCookie: StripSetCookie, RequestDirectives: HonourDirectives, TargetedFields: []string{}},
	} {
		if err := c.CheckPolicy(p); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// The policy is copied where the cache changes it.
func TestPolicyDefaults(t *testing.T) {
	c := newCache(t, Options{MaxBytes: 8 << 20})
	headers := []string{"x-b", "X-A", "X-B"}
	p, err := Policy{Headers: headers}.withDefaults(c.opts.MaxBytes / 8)
	if err != nil {
		t.Fatal(err)
	}
	if p.FillTimeout != time.Minute || p.MaxVariants != 32 || p.MaxBodyBytes != c.opts.MaxBytes/8 || p.WaitTimeout != 0 {
		t.Errorf("%+v", p)
	}
	if got := fmt.Sprint(p.Headers, headers); got != "[X-A X-B] [x-b X-A X-B]" {
		t.Errorf("Headers: %s", got)
	}
	if p, _ := (Policy{}).withDefaults(1 << 40); p.MaxBodyBytes != 8<<20 {
		t.Errorf("MaxBodyBytes %d", p.MaxBodyBytes)
	}
}
