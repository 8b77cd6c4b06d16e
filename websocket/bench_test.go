package websocket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var benchSizes = []int{128, 512, 4 << 10, 64 << 10}

func BenchmarkMask(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				mask(buf, testKey, 1)
			}
		})
	}
}

// BenchmarkUTF8 has the standard library beside ours.
func BenchmarkUTF8(b *testing.B) {
	for name, valid := range map[string]func([]byte) bool{"ours": validUTF8, "std": utf8.Valid} {
		for _, text := range []string{"ascii ", "Привет, ", "日本語", "😀"} {
			for _, n := range []int{100, 64 << 10} {
				b.Run(fmt.Sprint(strings.TrimSpace(text), "/", n, "/", name), func(b *testing.B) {
					buf := []byte(strings.Repeat(text, n/len(text)))
					b.SetBytes(int64(len(buf)))
					b.ReportAllocs()
					for b.Loop() {
						if !valid(buf) {
							b.Fatal("not valid")
						}
					}
				})
			}
		}
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			payload, dst := make([]byte, n), make([]byte, 0, n+maxHeader)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendFrame(dst[:0], true, OpBinary, payload)
			}
		})
	}
}

// BenchmarkFrameReader reads one masked text frame.
func BenchmarkFrameReader(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := parser{masked: true, emit: func(byte, byte, []byte, bool) error { return nil }}
			stream := text(strings.Repeat("x", n)).bytes(true)
			read := make([]byte, len(stream))
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				copy(read, stream) // feed unmasks in place
				if _, err := p.feed(read); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFrameReaderParts reads a message of 1 MiB as it comes from the network.
func BenchmarkFrameReaderParts(b *testing.B) {
	p := parser{masked: true, emit: func(byte, byte, []byte, bool) error { return nil }}
	stream := binary_(strings.Repeat("x", 1<<20)).bytes(true)
	read := make([]byte, 64<<10)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		for s := stream; len(s) > 0; {
			k := copy(read, s)
			if _, err := p.feed(read[:k]); err != nil {
				b.Fatal(err)
			}
			s = s[k:]
		}
	}
}

// BenchmarkEcho is messages to a server that answers each with itself and back over the loopback, sent by a bare client so many at a time.
func BenchmarkEcho(b *testing.B) {
	for _, by := range forms {
		for _, flight := range []int{1, 16} {
			for _, n := range []int{512, 64 << 10} {
				b.Run(fmt.Sprintf("%s/%d x %d", by.name, flight, n), func(b *testing.B) {
					c, peer := connect(b, true, nil)
					go by.echo(c)
					out := bytes.Repeat(binary_(strings.Repeat("x", n)).bytes(true), flight)
					benchExchange(b, peer.TCPConn, out, flight*len(binary_(strings.Repeat("x", n)).bytes(false)), flight)
				})
			}
		}
	}
}

// BenchmarkEchoBare is the same bytes returned by a bare loop: the limit.
func BenchmarkEchoBare(b *testing.B) {
	for _, flight := range []int{1, 16} {
		for _, n := range []int{512, 64 << 10} {
			b.Run(fmt.Sprintf("%d x %d", flight, n), func(b *testing.B) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				go func() {
					nc, _ := l.Accept()
					buf := make([]byte, 64<<10)
					for {
						k, err := nc.Read(buf)
						if err != nil {
							return
						}
						nc.Write(buf[:k])
					}
				}()
				nc, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				defer nc.Close()
				size := len(binary_(strings.Repeat("x", n)).bytes(true)) * flight
				benchExchange(b, nc, make([]byte, size), size, flight)
			})
		}
	}
}

func benchExchange(b *testing.B, nc net.Conn, out []byte, size, flight int) {
	in := make([]byte, size)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		go nc.Write(out)
		if _, err := io.ReadFull(nc, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*flight)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkIdleMemory is what the server's end of a connection costs while nothing happens, after it has been used: everything that Go has in use, its
// goroutine's stack and the bare client's socket included.
func BenchmarkIdleMemory(b *testing.B) {
	b.Run("Events", func(b *testing.B) { benchIdleMemory(b, func(c *Conn) { go echo(c) }) })
	b.Run("Handle", func(b *testing.B) {
		benchIdleMemory(b, func(c *Conn) { c.Handle(func(ev Event) bool { return answerMessage(c, ev) }) })
	})
}

func benchIdleMemory(b *testing.B, follow func(c *Conn)) {
	const n = 1000
	for b.Loop() {
		conns := make(chan *Conn, n)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := Accept(w, r, nil)
			if err != nil {
				b.Error(err)
				return
			}
			follow(c)
			conns <- c
		}))
		peers := make([]net.Conn, n)
		handshake := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", text("hello").bytes(true))
		before := inUse()
		for i := range peers {
			peers[i], _ = net.Dial("tcp", s.Listener.Addr().String())
		}
		for _, p := range peers {
			p.Write(handshake)
		}
		buf := make([]byte, 1000)
		for _, p := range peers {
			for got := ""; !strings.HasSuffix(got, "\x81\x05hello"); {
				k, _ := p.Read(buf)
				got += string(buf[:k])
			}
		}
		b.ReportMetric(float64(inUse()-before)/n, "B/conn")
		for _, p := range peers {
			p.Close()
		}
		for range peers {
			<-(<-conns).Done()
		}
		s.Close()
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// BenchmarkBroadcast is one prepared message to one connection among many: the cost of the sender.
func BenchmarkBroadcast(b *testing.B) {
	c, peer := connect(b, true, nil)
	go io.Copy(io.Discard, peer)
	p := Prepare(BinaryMessage, make([]byte, 128))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.WritePrepared(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGather is one of the answers to messages that came together, which joins those before it.
func BenchmarkGather(b *testing.B) {
	_, server := both(b, &AcceptOptions{Gather: time.Hour}, nil)
	answer, ctx := make([]byte, 512), b.Context()
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	server.gather.start()
	for b.Loop() {
		if err := server.Write(ctx, BinaryMessage, answer); err != nil {
			b.Fatal(err)
		}
		if out := server.gather.out; len(out.b) > gatherLimit/2 {
			out.b = out.b[:len(answer)] // instead of writing it
		}
	}
}
