package cachefetch_test

import (
	"context"
	"fmt"

	"github.com/freshet-go/freshet/cachefetch"
	"github.com/freshet-go/freshet/cachefetch/backend/backendtest"
)

// A point is encoded by hand, in place of encoding/json.
type point struct{ x, y byte }

type pointCodec struct{}

func (pointCodec) Append(dst []byte, p point) ([]byte, error) { return append(dst, p.x, p.y), nil }

func (pointCodec) Decode(data []byte) (point, error) {
	if len(data) != 2 {
		return point{}, fmt.Errorf("point of %d bytes", len(data))
	}
	return point{data[0], data[1]}, nil
}

func ExampleCodec() {
	ctx := context.Background()
	shared := new(backendtest.Memory)
	open := func() *cachefetch.Cache[point] {
		c, err := cachefetch.New(cachefetch.Options[point]{MaxBytes: 1 << 20, Backend: shared, Codec: pointCodec{}})
		if err != nil {
			panic(err)
		}
		return c
	}
	c := open()
	fmt.Println(c.Set(ctx, "home", point{3, 4}))
	c.Close()
	c = open()
	defer c.Close()
	fmt.Println(c.Fetch(ctx, "home", func(context.Context) (point, error) { return point{}, cachefetch.ErrNotFound }))
	// Output:
	// <nil>
	// {3 4} <nil>
}
