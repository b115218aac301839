package level2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"
)

func testEnvelope(value []byte) envelope {
	return envelope{
		format: 7, stamp: Stamp{1, 9}, freshUntil: 2, revalidateUntil: 3, errorUntil: -4, keepUntil: 5,
		key: "user 7", etag: `"a"`, lastModified: "Mon", tags: []string{"users", ""}, value: value,
	}
}

func mustSeal(t testing.TB, e envelope) []byte {
	t.Helper()
	b, err := appendEnvelope(nil, &e, func(dst []byte) ([]byte, error) { return append(dst, e.value...), nil })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, want := range []envelope{
		{value: []byte{}},
		testEnvelope([]byte("Alice")),
		testEnvelope(bytes.Repeat([]byte{0xff}, 70_000)),
		{key: string(bytes.Repeat([]byte("k"), 300)), tags: slices.Repeat([]string{"tag"}, 200), value: []byte{0}},
	} {
		got, err := parseEnvelope(mustSeal(t, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parseEnvelope = %+v, %v, want %+v", got, err, want)
		}
	}
}

// Appended to bytes that are there already, an envelope is the same.
func TestEnvelopeAppends(t *testing.T) {
	e := testEnvelope([]byte("Alice"))
	b, err := appendEnvelope([]byte("before"), &e, func(dst []byte) ([]byte, error) { return append(dst, e.value...), nil })
	if err != nil || !bytes.Equal(b, append([]byte("before"), mustSeal(t, e)...)) {
		t.Errorf("appendEnvelope = %q, %v", b, err)
	}
}

func TestEnvelopeEncoderFails(t *testing.T) {
	broken := errors.New("broken")
	if b, err := appendEnvelope(nil, &envelope{}, func(dst []byte) ([]byte, error) { return dst, broken }); b != nil || err != broken {
		t.Errorf("appendEnvelope = %q, %v, want nil, %v", b, err, broken)
	}
	// One that loses what it was to append to.
	if _, err := appendEnvelope(nil, &envelope{}, func([]byte) ([]byte, error) { return nil, nil }); err == nil {
		t.Error("an encoder that returns less than it was given is believed")
	}
}

// Every damage of one bit, and every cut and every byte too many, is found.
func TestEnvelopeDamage(t *testing.T) {
	whole := mustSeal(t, testEnvelope([]byte("Alice")))
	for i := range len(whole) * 8 {
		b := slices.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if e, err := parseEnvelope(b); err == nil {
			t.Errorf("bit %d flipped: read as %+v", i, e)
		}
	}
	for n := range len(whole) {
		if e, err := parseEnvelope(whole[:n]); err == nil {
			t.Errorf("cut to %d bytes: read as %+v", n, e)
		}
	}
	if e, err := parseEnvelope(append(slices.Clone(whole), 0)); err == nil {
		t.Errorf("a byte too many: read as %+v", e)
	}
	if e, err := parseEnvelope(append(slices.Clone(whole), whole...)); err == nil {
		t.Errorf("twice: read as %+v", e)
	}
}

// A right sum over wrong lengths does not help.
func TestEnvelopeLies(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields []byte
	}{
		{"nothing", nil},
		{"key longer than all", []byte{200, 1}},
		{"length of 2^64", bytes.Repeat([]byte{0xff}, 10)},
		{"more tags than bytes", []byte{0, 0, 0, 9, 0, 0}},
		{"no value", []byte{0, 0, 0, 0}},
		{"value's length cut", []byte{0, 0, 0, 0, 0, 0}},
		{"value too short", []byte{0, 0, 0, 0, 0, 0, 0, 2, 'a'}},
		{"value too long", []byte{0, 0, 0, 0, 0, 0, 0, 1, 'a', 'b'}},
	} {
		b := append(make([]byte, envelopeFixed), tt.fields...)
		b[0] = envelopeVersion
		if e, err := parseEnvelope(sum(b)); err == nil {
			t.Errorf("%s: read as %+v", tt.name, e)
		}
	}
}

// sum sets the checksum of an envelope.
func sum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[envelopeHeader:], castagnoli))
	return b
}

func TestEnvelopeOtherVersion(t *testing.T) {
	for v := range 256 {
		b := mustSeal(t, testEnvelope(nil))
		b[0] = byte(v)
		if _, err := parseEnvelope(sum(b)); (err == nil) != (v == envelopeVersion) {
			t.Errorf("version %d: error %v", v, err)
		}
	}
}

// FuzzParseEnvelope: whatever bytes come, also under a right sum, parsing does
// not panic, and what it takes for an envelope is one.
func FuzzParseEnvelope(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(mustSeal(f, testEnvelope([]byte("Alice"))), false)
	f.Add(mustSeal(f, envelope{}), true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= envelopeFixed {
			b = sum(slices.Clone(b))
			b[0] = envelopeVersion
		}
		e, err := parseEnvelope(b)
		if err != nil {
			return
		}
		again, err := parseEnvelope(mustSeal(t, e))
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("read as %+v, written and read again as %+v, %v", e, again, err)
		}
	})
}

// FuzzEnvelopeDamage: what was written comes back, and not with a bit flipped
// or a byte cut off.
func FuzzEnvelopeDamage(f *testing.F) {
	f.Add("key", "tag", []byte("value"), uint(3), uint(9))
	f.Add("", "", []byte{}, uint(0), uint(0))
	f.Fuzz(func(t *testing.T, key, tag string, value []byte, cut, flip uint) {
		e := envelope{key: key, tags: []string{tag}, value: slices.Clone(value), stamp: Stamp{At: int64(cut)}}
		if e.value == nil {
			e.value = []byte{}
		}
		b := mustSeal(t, e)
		got, err := parseEnvelope(b)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v, %v, want %+v", got, err, e)
		}
		if _, err := parseEnvelope(b[:cut%uint(len(b))]); err == nil {
			t.Error("cut: still read")
		}
		b = slices.Clone(b)
		b[flip/8%uint(len(b))] ^= 1 << (flip % 8)
		if _, err := parseEnvelope(b); err == nil {
			t.Error("bit flipped: still read")
		}
	})
}

func BenchmarkEnvelope(b *testing.B) {
	e := testEnvelope(make([]byte, 1<<10))
	encoded := mustSeal(b, e)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseEnvelope(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}
