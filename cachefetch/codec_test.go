package cachefetch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

func TestDefaultCodec(t *testing.T) {
	type user struct{ Name string }
	type id []byte
	for _, tt := range []struct{ got, want any }{
		{defaultCodec[[]byte](), BytesCodec{}},
		{defaultCodec[string](), StringCodec{}},
		{defaultCodec[user](), JSONCodec[user]{}},
		{defaultCodec[id](), JSONCodec[id]{}}, // not the type []byte
	} {
		if got, want := fmt.Sprintf("%T", tt.got), fmt.Sprintf("%T", tt.want); got != want {
			t.Errorf("default codec %s, want %s", got, want)
		}
	}
}

// That JSON would lose all of a value is found when the cache is made.
func TestJSONCodecThatLosesAll(t *testing.T) {
	type hidden struct{ name string }
	type shown struct{ Name string }
	type embedded struct{ shown }
	type empty struct{}
	for name, got := range map[string]struct{ nothing, want bool }{
		"hidden":      {writesNothing[hidden](), true},
		"pointer":     {writesNothing[*hidden](), true},
		"channel":     {writesNothing[chan int](), true},
		"shown":       {writesNothing[shown](), false},
		"embedded":    {writesNothing[embedded](), false},
		"empty":       {writesNothing[empty](), false},
		"time":        {writesNothing[time.Time](), false},
		"pointer to":  {writesNothing[*time.Time](), false},
		"number":      {writesNothing[int](), false},
		"any":         {writesNothing[any](), false},
		"of pointers": {writesNothing[[]*hidden](), false}, // is not looked into
	} {
		if got.nothing != got.want {
			t.Errorf("%s: %v, want %v", name, got.nothing, got.want)
		}
	}
	_, err := New(Options[hidden]{MaxBytes: 1 << 20, Backend: new(backendtest.Memory)})
	if err == nil || !strings.Contains(err.Error(), "Options.Codec") {
		t.Errorf("New: %v", err)
	}
	_ = hidden{name: "is used"}
}

func TestJSONCodec(t *testing.T) {
	type user struct {
		Name string
		Tags []string
	}
	var c JSONCodec[user]
	b, err := c.Append([]byte("before"), user{"Alice", []string{"a"}})
	if string(b) != `before{"Name":"Alice","Tags":["a"]}` || err != nil {
		t.Fatalf("Append = %q, %v", b, err)
	}
	u, err := c.Decode(b[len("before"):])
	if u.Name != "Alice" || len(u.Tags) != 1 || err != nil {
		t.Errorf("Decode = %+v, %v", u, err)
	}
	if _, err := c.Decode([]byte("{")); err == nil {
		t.Error("Decode of half a value: no error")
	}
	if _, err := (JSONCodec[chan int]{}).Append(nil, make(chan int)); err == nil {
		t.Error("Append of a channel: no error")
	}
}

// What is decoded shares no memory with the data, and appending to it reaches
// nobody else's.
func TestBytesCodecCopies(t *testing.T) {
	data := []byte("Alice, and more")
	v, err := BytesCodec{}.Decode(data[:5])
	if string(v) != "Alice" || cap(v) != 5 || err != nil {
		t.Errorf("Decode = %q of capacity %d, %v", v, cap(v), err)
	}
	data[0] = 'X'
	if string(v) != "Alice" {
		t.Errorf("after the data changed: %q", v)
	}
	if v, _ := (BytesCodec{}).Decode(nil); v == nil {
		t.Error("Decode of nothing = nil, want an empty slice")
	}
}

func FuzzCodecs(f *testing.F) {
	f.Add([]byte("Alice"))
	f.Add([]byte{0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		enc, _ := BytesCodec{}.Append(nil, b)
		if got, err := (BytesCodec{}).Decode(enc); string(got) != string(b) || err != nil {
			t.Errorf("bytes %q came back as %q, %v", b, got, err)
		}
		enc, _ = StringCodec{}.Append(nil, string(b))
		if got, err := (StringCodec{}).Decode(enc); got != string(b) || err != nil {
			t.Errorf("string %q came back as %q, %v", b, got, err)
		}
		var c JSONCodec[map[string]any]
		if v, err := c.Decode(b); err == nil { // then it can be written again
			if _, err := c.Append(nil, v); err != nil {
				t.Errorf("%q was read and not written: %v", b, err)
			}
		}
	})
}
