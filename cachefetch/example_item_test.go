package cachefetch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/freshet-go/freshet/cachefetch"
)

// An upstream that knows validators is asked whether the old value is still
// good, and says so in a few bytes.
func ExampleCache_FetchItem() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
		} else {
			io.WriteString(w, "a long page")
		}
		fmt.Printf("upstream asked, If-None-Match: %q\n", r.Header.Get("If-None-Match"))
	}))
	defer upstream.Close()
	pages, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pages.Close()

	ctx := context.Background()
	load := func(ctx context.Context, old *cachefetch.Item[string]) (page cachefetch.Item[string], err error) {
		req, err := http.NewRequestWithContext(ctx, "GET", upstream.URL, nil)
		if err != nil {
			return page, err
		}
		old.SetConditions(req.Header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return page, err
		}
		defer resp.Body.Close()
		page.SetValidators(resp.Header)
		page.Tags = []string{"pages"}
		switch resp.StatusCode {
		case http.StatusNotModified:
			page.NotModified = true
			return page, nil
		case http.StatusOK:
			body, err := io.ReadAll(resp.Body)
			page.Value = string(body)
			return page, err
		case http.StatusNotFound:
			return page, cachefetch.ErrNotFound
		}
		return page, errors.New(resp.Status)
	}
	for range 2 {
		page, err := pages.FetchItem(ctx, "/", load)
		fmt.Println(page.Value, page.Source, err)
	}
	pages.PurgeTag(ctx, "pages", cachefetch.Soft)
	page, err := pages.FetchItem(ctx, "/", load)
	fmt.Println(page.Value, page.Source, err)
	// Output:
	// upstream asked, If-None-Match: ""
	// a long page loaded <nil>
	// a long page fresh <nil>
	// upstream asked, If-None-Match: "\"1\""
	// a long page loaded <nil>
}

func ExampleCache_FetchMany() {
	users, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	load := func(ctx context.Context, ids []string) (map[string]string, error) {
		fmt.Println("loading", len(ids))
		found := map[string]string{"1": "Alice", "2": "Bob", "3": "Carol"}
		users := make(map[string]string)
		for _, id := range ids {
			if name, ok := found[id]; ok {
				users[id] = name
			}
		}
		return users, nil // what is not in it is ErrNotFound
	}
	ctx := context.Background()
	users.FetchMany(ctx, []string{"1", "2"}, load)
	results, err := users.FetchMany(ctx, []string{"3", "2", "4", "3"}, load)
	for _, r := range results {
		fmt.Println(r.Value, r.Source)
	}
	fmt.Println(err)
	// Output:
	// loading 2
	// loading 2
	// Carol loaded
	// Bob fresh
	//  none
	// Carol loaded
	// cachefetch: key "4": cachefetch: not found
}

func ExampleCache_PurgeTag() {
	ctx := context.Background()
	pages, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pages.Close()
	pages.SetItem(ctx, "/shoes", cachefetch.Item[string]{Value: "12 shoes", Tags: []string{"product:7", "product:8"}})
	pages.SetItem(ctx, "/hats", cachefetch.Item[string]{Value: "3 hats", Tags: []string{"product:9"}})
	fmt.Println(pages.PurgeTag(ctx, "product:7", cachefetch.Hard))
	fmt.Println(pages.Get("/shoes"))
	fmt.Println(pages.Get("/hats"))
	// Output:
	// <nil>
	//  false
	// 3 hats true
}

func ExampleObserver() {
	c, err := cachefetch.New(cachefetch.Options[string]{
		MaxBytes: 1 << 20,
		Observer: &cachefetch.Observer{
			Fetched: func(_ context.Context, i cachefetch.FetchInfo) { fmt.Println(i.Key, "is", i.Source) },
			LoadEnds: func(_ context.Context, key string, _ time.Duration, err error) {
				fmt.Println(key, "was loaded, error:", err)
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for range 2 {
		c.Fetch(context.Background(), "7", func(context.Context) (string, error) { return "Alice", nil })
	}
	// Output:
	// 7 was loaded, error: <nil>
	// 7 is loaded
	// 7 is fresh
}

func ExampleCache_WriteMetrics() {
	c, err := cachefetch.New(cachefetch.Options[string]{MaxBytes: 1 << 20, Name: "users"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	c.Set(context.Background(), "7", "Alice")
	c.Get("7")
	var b strings.Builder
	c.WriteMetrics(&b)
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, "fetches_total") && strings.HasSuffix(line, " 1\n") {
			os.Stdout.WriteString(line)
		}
	}
	// Output: freshet_fetches_total{cache="users",source="fresh"} 1
}
