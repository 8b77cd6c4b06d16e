//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// readFrame reads a frame with a library that others wrote.
func readFrame(t *testing.T, b []byte) (ws.Header, []byte) {
	t.Helper()
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	if err == nil {
		err = ws.CheckHeader(h, ws.StateServerSide|ws.StateExtended)
	}
	if err != nil || int64(r.Len()) != h.Length {
		t.Fatalf("header %+v: %v, %d bytes follow", h, err, r.Len())
	}
	data := b[len(b)-r.Len():]
	ws.Cipher(data, h.Mask, 0)
	return h, data
}

func TestClientFramesAreReadByAStranger(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 100_000} {
		data := payload(size)
		h, got := readFrame(t, appendFrame(nil, true, false, data))
		if !h.Masked || !h.Fin || h.OpCode != ws.OpBinary || h.Rsv != 0 {
			t.Errorf("%d bytes: header %+v", size, h)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes: another payload came out", size)
		}
	}
}

func TestCompressedFrameSaysSo(t *testing.T) {
	h, _ := readFrame(t, appendFrame(nil, true, true, compress(payload(4096))))
	if h.Rsv != ws.Rsv(true, false, false) || h.Length > 2048 {
		t.Errorf("header %+v: want RSV1 and fewer bytes", h)
	}
}

func TestCompressIsReversed(t *testing.T) {
	for _, size := range []int{1, 512, 64 << 10} {
		got, err := decompress(compress(payload(size)))
		if err != nil || !bytes.Equal(got, payload(size)) {
			t.Errorf("%d bytes: %d came back: %v", size, len(got), err)
		}
	}
}

// streams are what servers may send, and how many messages that is.
func streams() map[string]struct {
	c        counter
	bytes    []byte
	messages int
} {
	type stream = struct {
		c        counter
		bytes    []byte
		messages int
	}
	data := payload(300)
	whole := appendFrame(nil, false, false, data)
	ping := []byte{0x89, 3, 'a', 'b', 'c'}
	first := append([]byte{opBinary, 100}, data[:100]...) // not FIN
	last := append([]byte{finBit, len16, 0, 200}, data[100:]...)
	squeezed := compress(data)
	return map[string]stream{
		"one":           {counter{want: data}, whole, 1},
		"three":         {counter{want: data}, bytes.Repeat(whole, 3), 3},
		"long":          {counter{want: payload(70_000)}, bytes.Repeat(appendFrame(nil, false, false, payload(70_000)), 2), 2},
		"empty":         {counter{}, bytes.Repeat(appendFrame(nil, false, false, nil), 2), 2},
		"ping between":  {counter{want: data}, bytes.Join([][]byte{whole, ping, whole}, nil), 2},
		"ping within":   {counter{want: data}, bytes.Join([][]byte{first, ping, last}, nil), 1},
		"two fragments": {counter{want: data}, bytes.Join([][]byte{first, last, whole}, nil), 2},
		"compressed":    {counter{want: data, compressed: true}, bytes.Repeat(appendFrame(nil, false, true, squeezed), 2), 2},
	}
}

func TestCounterCountsHoweverTheBytesCome(t *testing.T) {
	for name, s := range streams() {
		for _, step := range []int{1, 2, 3, 7, 100, len(s.bytes)} {
			c, got := s.c, 0
			for b := s.bytes; len(b) > 0; {
				n := min(step, len(b))
				m, err := c.feed(b[:n])
				if err != nil {
					t.Fatalf("%s in steps of %d: %v", name, step, err)
				}
				got += m
				b = b[n:]
			}
			if got != s.messages {
				t.Errorf("%s in steps of %d: %d messages, want %d", name, step, got, s.messages)
			}
		}
	}
}

func TestCounterRefuses(t *testing.T) {
	data := payload(300)
	whole := appendFrame(nil, false, false, data)
	for name, c := range map[string]struct {
		counter counter
		bytes   []byte
		want    string
	}{
		"another payload":       {counter{want: payload(301)[1:]}, whole, "not the one"},
		"another length later":  {counter{want: data}, append(bytes.Clone(whole), appendFrame(nil, false, false, data[1:])...), "299 bytes, want 300"},
		"a masked frame":        {counter{want: data}, appendFrame(nil, true, false, data), "masks"},
		"a close frame":         {counter{want: data}, []byte{finBit | opClose, 0}, "closes"},
		"no compression":        {counter{want: data, compressed: true}, whole, "compressed: false"},
		"a continuation":        {counter{want: data}, []byte{finBit, 0}, "continuation"},
		"a message in another":  {counter{want: data}, []byte{opBinary, 0, opBinary, 0}, "within"},
		"compressed, but wrong": {counter{want: data, compressed: true}, appendFrame(nil, false, true, []byte{0xff, 0xff}), "decompress"},
	} {
		if _, err := c.counter.feed(c.bytes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func BenchmarkCounter(b *testing.B) {
	data := payload(512)
	frames := bytes.Repeat(appendFrame(nil, false, false, data), 16)
	c := counter{want: data}
	b.SetBytes(int64(len(frames)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := c.feed(frames); n != 16 || err != nil {
			b.Fatal(n, err)
		}
	}
}
