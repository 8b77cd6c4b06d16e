package session

import "testing"

var benchData = []byte(`{"bid":1.08431,"ask":1.08452,"size":1000000,"venue":"XETR","time":"2026-11-21T10:00:00.000Z","note":"a price as they come"}`)

func BenchmarkAppendUpdate(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	for i := range b.N {
		dst = AppendUpdate(dst[:0], "/fx/EURUSD", Stamp{Epoch: 0x5f0c2a9be1d34a01, Offset: uint64(i), At: 1763700000100}, benchData)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkAppendRecordUpdate(b *testing.B) {
	b.ReportAllocs()
	fields := []Field{{"bid", []byte("1.08431")}, {"ask", []byte("1.08452")}, {"venue", nil}}
	var dst []byte
	for i := range b.N {
		dst = AppendRecordUpdate(dst[:0], "/fx/EURUSD", Stamp{Epoch: 0x5f0c2a9be1d34a01, Offset: uint64(i), At: 1763700000100}, fields)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkParseUpdate(b *testing.B) {
	b.ReportAllocs()
	msg := AppendUpdate(nil, "/fx/EURUSD", Stamp{Epoch: 0x5f0c2a9be1d34a01, Offset: 123456, At: 1763700000100}, benchData)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		var p parser
		if err := p.parse(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClientReceiveUpdate(b *testing.B) {
	b.ReportAllocs()
	c := NewClient(ClientOptions{})
	c.Connect()
	c.Opened()
	c.Receive([]byte(welcome))
	_ = c.Subscribe("/fx/EURUSD", SubscribeOptions{})
	c.Receive([]byte(`{"t":"snapshot","path":"/fx/EURUSD","kind":"log","epoch":"0000000000000001","offset":0}`))
	var msg []byte
	n := uint64(0)
	for b.Loop() {
		msg = AppendUpdate(msg[:0], "/fx/EURUSD", Stamp{Epoch: 1, Offset: n, At: 1763700000100}, benchData)
		n++
		c.Receive(msg)
		c.TakeEvents()
	}
}

func BenchmarkServerReceivePublish(b *testing.B) {
	b.ReportAllocs()
	s := NewServer(ServerOptions{})
	_, _ = s.Receive([]byte(`{"t":"hello","version":1}`))
	msg := Append(nil, &Message{Type: TypePublish, ID: 77, Path: "/fx/EURUSD", Data: benchData})
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if _, err := s.Receive(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMediaHeader(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = AppendMediaHeader(dst[:0], MediaHeader{Kind: MediaVideo, Path: "/live/cam1", Epoch: 1, Offset: 2, DTS: 3})
		if _, _, _, err := parseMedia(dst); err != nil {
			b.Fatal(err)
		}
	}
}
