// Package chart draws simple charts as SVG.
package chart

import (
	"fmt"
	"math"
	"strings"
)

// A Canvas collects shapes.
type Canvas struct {
	width, height int
	b             strings.Builder
}

// New returns an empty white Canvas of so many pixels.
func New(width, height int) *Canvas {
	c := &Canvas{width: width, height: height}
	c.Rect(0, 0, float64(width), float64(height), "#ffffff")
	return c
}

// SVG returns the picture.
func (c *Canvas) SVG() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">`+
		"\n%s</svg>\n", c.width, c.height, c.b.String())
}

// Rect draws a filled rectangle.
func (c *Canvas) Rect(x, y, width, height float64, fill string) {
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, max(width, 0), max(height, 0), escape(fill))
}

// Line draws a straight line.
func (c *Canvas) Line(x1, y1, x2, y2 float64, stroke string, width float64) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, escape(stroke), width)
}

// Dot draws a filled circle.
func (c *Canvas) Dot(x, y, radius float64, fill string) {
	fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>`+"\n", x, y, radius, escape(fill))
}

// Path draws a line through points.
func (c *Canvas) Path(xs, ys []float64, stroke string) {
	var points []string
	for i := range min(len(xs), len(ys)) {
		points = append(points, fmt.Sprintf("%.1f,%.1f", xs[i], ys[i]))
	}
	fmt.Fprintf(&c.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), escape(stroke))
}

// Where a text is, of the point that is given for it.
const (
	Left   = "end" // the text ends there
	Right  = "start"
	Around = "middle"
)

// Text writes one line; y is that of its foot. The style is more attributes,
// such as font-size="15", or empty.
func (c *Canvas) Text(x, y float64, where, style, text string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#222222" %s>%s</text>`+"\n", x, y, where, style, escape(text))
}

// A Scale maps values to pixels.
type Scale struct {
	from, to   float64 // values
	start, end float64 // pixels
	log        bool
}

// Linear maps from..to onto the pixels start..end.
func Linear(from, to, start, end float64) Scale { return Scale{from, to, start, end, false} }

// Log does so with equal room for equal factors. Values must be more than 0.
func Log(from, to, start, end float64) Scale {
	return Scale{math.Log(from), math.Log(to), start, end, true}
}

// At returns the pixel of a value. Values outside are drawn at the edge.
func (s Scale) At(v float64) float64 {
	if s.log {
		v = math.Log(v)
	}
	share := (v - s.from) / (s.to - s.from)
	return s.start + min(max(share, 0), 1)*(s.end-s.start)
}

// Ceil returns the next 1, 2 or 5 times a power of ten, for the end of an
// axis.
func Ceil(v float64) float64 {
	if !(v > 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace
