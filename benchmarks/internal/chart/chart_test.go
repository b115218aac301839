package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestSVGIsXML(t *testing.T) {
	c := New(100, 50)
	c.Text(1, 2, Left, `font-size="11"`, `a < b & "c"`)
	c.Line(0, 0, 10, 10, "#000000", 1)
	c.Rect(0, 0, -5, 5, "red") // never negative
	c.Dot(1, 1, 2, "blue")
	c.Path([]float64{1, 2, 3}, []float64{4, 5}, "green") // the shorter one counts
	svg := c.SVG()
	d := xml.NewDecoder(strings.NewReader(svg))
	var elements int
	var text strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements++
		case xml.CharData:
			text.Write(token)
		}
	}
	if elements != 7 || !strings.Contains(text.String(), `a < b & "c"`) {
		t.Errorf("%d elements in\n%s", elements, svg)
	}
	for _, want := range []string{`points="1.0,4.0 2.0,5.0"`, `width="0.0" height="5.0"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
}

func TestScales(t *testing.T) {
	linear, log := Linear(0, 10, 100, 200), Log(0.001, 10, 0, 400)
	for _, c := range []struct {
		scale       Scale
		value, want float64
	}{
		{linear, 0, 100}, {linear, 5, 150}, {linear, 10, 200}, {linear, -1, 100}, {linear, 99, 200},
		{Linear(0, 10, 200, 100), 2.5, 175}, // upside down, as pixels are
		{log, 0.001, 0}, {log, 0.01, 100}, {log, 1, 300}, {log, 100, 400}, {log, 0, 0},
	} {
		if got := c.scale.At(c.value); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v at %v: %v, want %v", c.scale, c.value, got, c.want)
		}
	}
}

func TestCeil(t *testing.T) {
	for v, want := range map[float64]float64{0.7: 1, 1: 1, 1.1: 2, 3: 5, 51: 100, 500: 500, 501: 1000, 0: 1, -3: 1} {
		if got := Ceil(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}
