package subject

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

var message = []byte(`{"id":"a1b2c3","text":"` + strings.Repeat("x", 90) + `","price":1.08713}`)

func BenchmarkPublishLog(b *testing.B) {
	h := NewHub(Options{})
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := h.Publish("/chat", Log, Update{Data: message}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishRecord(b *testing.B) {
	h := NewHub(Options{})
	fields := []Field{{"bid", []byte("1.08713")}, {"ask", []byte("1.08719")}, {"time", []byte("1792345678901")}}
	for i := range 20 {
		if _, _, err := h.Publish("/fx", Record, Update{Fields: []Field{{fmt.Sprint("f", i), []byte("1")}}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := h.Publish("/fx", Record, Update{Fields: fields}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishLogParallel(b *testing.B) {
	h := NewHub(Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := h.Publish("/chat", Log, Update{Data: message}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkChangedSince(b *testing.B) {
	h := NewHub(Options{})
	for i := range 100 {
		if _, _, err := h.Publish("/fx", Record, Update{Fields: []Field{{fmt.Sprint("f", i), []byte("1")}}}); err != nil {
			b.Fatal(err)
		}
	}
	s := h.Find("/fx")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.ChangedSince(95); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckJSON(b *testing.B) {
	for _, c := range []struct {
		name string
		text []byte
	}{
		{"message", message},
		{"numbers", append(append([]byte{'['}, bytes.Repeat([]byte("1.25,"), 1000)...), "1]"...)},
		{"text", append(append([]byte{'"'}, bytes.Repeat([]byte("text "), 1000)...), '"')},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := checkJSON(c.text, DefaultMaxDepth); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
