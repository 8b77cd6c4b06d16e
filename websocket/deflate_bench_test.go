package websocket

import (
	"context"
	"fmt"
	"io"
	"testing"
)

func deflateBenchmarks(b *testing.B, run func(b *testing.B, c Codec, to Codec, message []byte)) {
	for _, takeover := range []bool{false, true} {
		for _, n := range []int{512, 4 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%d takeover=%v", n, takeover), func(b *testing.B) {
				p := deflateParams{serverNoTakeover: !takeover}
				d := &Deflate{}
				b.SetBytes(int64(n))
				b.ReportAllocs()
				run(b, d.codec(p, true), d.codec(p, false), quotes(n))
			})
		}
	}
}

func BenchmarkDeflate(b *testing.B) {
	deflateBenchmarks(b, func(b *testing.B, c, _ Codec, message []byte) {
		var dst []byte
		for b.Loop() {
			dst, _, _ = c.Encode(dst[:0], TextMessage, message)
		}
		b.ReportMetric(float64(len(message))/float64(len(dst)), "times-smaller")
	})
}

// BenchmarkDeflateShort is a short message that refers to those before.
func BenchmarkDeflateShort(b *testing.B) {
	c := (&Deflate{Threshold: -1}).codec(deflateParams{}, true)
	message := quotes(60)
	var dst []byte
	for range 1000 {
		c.Encode(nil, TextMessage, quotes(60))
	}
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _, _ = c.Encode(dst[:0], TextMessage, message)
	}
	b.ReportMetric(float64(len(message))/float64(len(dst)), "times-smaller")
}

func BenchmarkInflate(b *testing.B) {
	deflateBenchmarks(b, func(b *testing.B, c, to Codec, message []byte) {
		wire, _, _ := c.Encode(nil, TextMessage, message)
		var dst []byte
		for b.Loop() {
			dst, _ = to.Decode(dst[:0], TextMessage, wire, DefaultMaxMessage)
		}
	})
}

// BenchmarkDeflateEcho is one compressed message to a server that answers with itself and back over the loopback. The client sends ready-made bytes.
func BenchmarkDeflateEcho(b *testing.B) {
	for _, n := range []int{512, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, peer := deflated(b, true, deflateParams{serverNoTakeover: true, clientNoTakeover: true}, nil)
			go echo(c)
			wire, _, _ := c.agreed.codecs[0].Encode(nil, TextMessage, quotes(n))
			out := packed(OpText, string(wire)).bytes(true)
			benchExchange(b, peer.TCPConn, out, len(packed(OpText, string(wire)).bytes(false)), 1)
		})
	}
}

// BenchmarkBroadcastDeflate is one prepared message to a connection among many that compress.
func BenchmarkBroadcastDeflate(b *testing.B) {
	c, peer := deflated(b, true, deflateParams{serverNoTakeover: true}, nil)
	go io.Copy(io.Discard, peer)
	p := Prepare(TextMessage, quotes(1<<10))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.WritePrepared(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
}
