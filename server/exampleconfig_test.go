package server

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The example is what new users copy.
func TestExampleConfig(t *testing.T) {
	const file = "freshet.example.yaml"
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What is left out has the default that its comment states.
	var bare Config
	bare = bare.withDefaults()
	bare.Upstreams, bare.Routes = c.Upstreams, c.Routes
	if keys := restartKeys(c, bare); len(keys) > 0 {
		t.Errorf("values are not the defaults: %v", keys)
	}
	got, err := c.Upstreams[0].withDefaults().transportOptions().WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	want, err := Upstream{Name: "app"}.withDefaults().transportOptions().WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if got.Proxy, want.Proxy = nil, nil; !reflect.DeepEqual(got, want) {
		t.Errorf("values are not the defaults: %+v, want %+v", got, want)
	}

	// Every key stands there with a comment that has something to say.
	keys := make(map[string]bool)
	add := func(key string) { keys[key] = true }
	for _, f := range configFields {
		add(f.key)
	}
	for _, f := range upstreamFields {
		add(f.key)
	}
	for _, f := range routeFields {
		add(f.key)
	}
	for _, f := range limitFields {
		add(f.key)
	}
	for _, f := range policyFields {
		add(f.key)
	}
	for _, f := range queryFields {
		add(f.key)
	}
	for key := range keys {
		line := regexp.MustCompile(`(?m)^[ #-]*\b` + key + `:.*$`).FindString(string(src))
		if line == "" {
			t.Errorf("key %s is not shown", key)
			continue
		}
		value := line[strings.Index(line, ":"):]
		if _, comment, _ := strings.Cut(value, "# "); len(comment) < 10 && key != "routes" {
			t.Errorf("key %s has no comment: %s", key, line)
		}
	}
}
