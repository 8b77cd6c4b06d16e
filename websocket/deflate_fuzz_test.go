package websocket

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"io"
	"testing"
)

// FuzzDeflate gives any bytes as compressed messages, two with one context and in fragments, to either side; and any bytes to compress.
func FuzzDeflate(f *testing.F) {
	for _, r := range makeDeflateRules() {
		for _, m := range r.send {
			if m.rsv == 4 && len(m.payload) < 200 {
				f.Add([]byte(m.payload), true, uint8(15), uint16(10))
			}
		}
	}
	f.Add(quotes(2000), false, uint8(9), uint16(300))
	f.Fuzz(func(t *testing.T, data []byte, server bool, bits uint8, at uint16) {
		const limit = 100_000
		bits = minWindowBits + bits%(maxWindowBits-minWindowBits+1)
		cut := min(int(at), len(data))
		fuzzInflate(t, data, server, cut, limit)
		fuzzRoundTrip(t, data, server, int(bits), cut)
	})
}

func fuzzInflate(t *testing.T, data []byte, server bool, cut int, limit int64) {
	var a agreement
	a.add((&Deflate{}).codec(deflateParams{}, server))
	var before []byte
	p := parser{masked: server, rsv: deflateBit, maxMessage: limit}
	p.emit = func(op, rsv byte, payload []byte, _ bool) error {
		wire := bytes.Clone(payload)
		out, err := a.decode(nil, op, rsv, payload, limit)
		if int64(len(out)) > limit || !bytes.Equal(wire, payload) {
			t.Fatalf("%d bytes, the limit is %d; what was read is changed: %v", len(out), limit, !bytes.Equal(wire, payload))
		}
		var v *Violation
		if err != nil && !errors.As(err, &v) {
			t.Fatalf("the error %v is no violation", err)
		}
		if std, last := inflateStd(wire, before); err == nil && !bytes.HasPrefix(out, std) || err == nil && last && !bytes.Equal(out, std) {
			t.Fatalf("%x: got %d bytes, the standard library gets %d", wire, len(out), len(std))
		}
		before = append(before, out...)
		return err
	}
	out := frames(server, frame{rsv: 4, op: OpBinary, payload: string(data[:cut])}, frame{fin: true, op: OpPing}, frame{fin: true, payload: string(data[cut:])}, packed(OpBinary, string(data)))
	p.emit = skipControl(p.emit)
	p.feed(out)
}

func skipControl(emit func(op, rsv byte, payload []byte, more bool) error) func(op, rsv byte, payload []byte, more bool) error {
	return func(op, rsv byte, payload []byte, more bool) error {
		if op >= OpClose {
			return nil
		}
		return emit(op, rsv, payload, more)
	}
}

// inflateStd is another decompressor's result, up to the first last block, and whether that was the end.
func inflateStd(wire, before []byte) (out []byte, last bool) {
	if len(wire) == 0 {
		return nil, true
	}
	in := bytes.NewReader(append(bytes.Clone(wire), readTail...))
	r := stdflate.NewReaderDict(in, before)
	out, err := io.ReadAll(io.LimitReader(r, 1<<20))
	return out, err == nil && in.Len() == 0
}

func fuzzRoundTrip(t *testing.T, data []byte, server bool, bits, cut int) {
	d := &Deflate{Threshold: -1, ServerTakeover: true, ClientTakeover: true}
	params := deflateParams{serverBits: bits, clientBits: bits}
	from, to := d.codec(params, server), d.codec(params, !server)
	var before []byte
	for _, m := range [][]byte{data[:cut], data, data[cut:]} {
		b, changed, err := from.Encode(nil, BinaryMessage, m)
		if err != nil {
			t.Fatal(err)
		}
		if !changed {
			continue
		}
		out, far, _ := slowInflate(t, b, before)
		if far > 1<<bits || !bytes.Equal(out, m) {
			t.Fatalf("%x refers %d bytes back, %d bits", b, far, bits)
		}
		before = append(before, m...)
		if out, err = to.Decode(nil, BinaryMessage, b, 0); err != nil || !bytes.Equal(out, m) {
			t.Fatalf("%x becomes %d bytes, %v; want %d", b, len(out), err, len(m))
		}
	}
}
