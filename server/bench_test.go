package server

import (
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	"hawser/amf"
	"hawser/rtmp"
)

// rawPlayer plays over RTMP with as little of its own as possible.
func (r *rig) rawPlayer(name string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.rtmp)
	if err != nil {
		r.t.Fatal(err)
	}
	r.playRaw(conn, name)
	return conn
}

// playRaw asks for a stream of the application live with all requests in one go.
func (r *rig) playRaw(conn net.Conn, name string) {
	r.t.Helper()
	const part = 1536
	hello := make([]byte, 1+part)
	hello[0] = 3
	conn.Write(hello)
	answer := make([]byte, 1+2*part)
	if _, err := io.ReadFull(conn, answer); err != nil {
		r.t.Fatal(err)
	}
	out := append([]byte(nil), answer[1:1+part]...)
	for _, m := range []rtmp.Message{
		{Type: rtmp.TypeCommand, Payload: amf.Append(nil, "connect", 1.0, amf.Object{{Name: "app", Value: "live"}, {Name: "tcUrl", Value: "rtmp://localhost/live"}})},
		{Type: rtmp.TypeCommand, Payload: amf.Append(nil, "createStream", 2.0, nil)},
		{Type: rtmp.TypeCommand, StreamID: rtmp.MediaStreamID, Payload: amf.Append(nil, "play", 3.0, nil, name)},
	} {
		out = rtmp.AppendMessage(out, rtmp.DefaultChunkSize, m)
	}
	if _, err := conn.Write(out); err != nil {
		r.t.Fatal(err)
	}
}

// BenchmarkMemoryOfPlayers is what an RTMP player holds while it waits: what is in use on the heap and the stacks after a collection. Its own end in this process is in it too.
func BenchmarkMemoryOfPlayers(b *testing.B) {
	const n = 1000
	for b.Loop() {
		r := serve(b, Options{})
		f := r.feed("/live/a")
		f.write(50)
		before := held()
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = r.rawPlayer("a")
		}
		until(b, "all play", func() bool { info, _ := r.Streams().Find("/live/a"); return info.Viewers == n })
		f.write(10)
		after := held()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heap-B/player")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/n, "stack-B/player")
		b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/n, "objects/player")
		for _, c := range conns {
			c.Close()
		}
		r.stop()
	}
}

// held is what is in use after a collection.
func held() (m runtime.MemStats) {
	runtime.GC()
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	return m
}
