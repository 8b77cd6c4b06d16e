package websocket

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a server answers (RFC 7692 section 7.1); "" means that it declines.
func TestDeflateAccept(t *testing.T) {
	none := "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	takeover := Deflate{ServerTakeover: true, ClientTakeover: true}
	tests := []struct {
		offer   string
		options Deflate
		want    string
	}{
		{"permessage-deflate", Deflate{}, none},
		{"permessage-deflate", takeover, "permessage-deflate"},
		{"permessage-deflate", Deflate{ServerTakeover: true}, "permessage-deflate; client_no_context_takeover"},
		{"permessage-deflate; server_no_context_takeover", takeover, "permessage-deflate; server_no_context_takeover"},
		{"permessage-deflate; client_no_context_takeover", takeover, "permessage-deflate; client_no_context_takeover"},
		{"permessage-deflate; client_max_window_bits", Deflate{}, none},
		{"permessage-deflate; client_max_window_bits", Deflate{ClientWindowBits: 9}, none + "; client_max_window_bits=9"},
		{"permessage-deflate; client_max_window_bits=10", Deflate{}, none + "; client_max_window_bits=10"},
		{"permessage-deflate; client_max_window_bits=10", Deflate{ClientWindowBits: 9}, none + "; client_max_window_bits=9"},
		{"permessage-deflate; client_max_window_bits=8", Deflate{ClientWindowBits: 9}, none + "; client_max_window_bits=8"},
		{"permessage-deflate", Deflate{ClientWindowBits: 9}, none},
		{"permessage-deflate", Deflate{ServerWindowBits: 9}, none + "; server_max_window_bits=9"},
		{"permessage-deflate; server_max_window_bits=15", Deflate{}, none + "; server_max_window_bits=15"},
		{"permessage-deflate; server_max_window_bits=9", Deflate{}, none + "; server_max_window_bits=9"},
		{"permessage-deflate; server_max_window_bits=8", takeover, "permessage-deflate; server_max_window_bits=8"},
		{"permessage-deflate; server_max_window_bits=12", Deflate{ServerWindowBits: 10}, none + "; server_max_window_bits=10"},
		{`permessage-deflate; server_max_window_bits="10"`, Deflate{}, none + "; server_max_window_bits=10"},
		{"x-other, permessage-deflate", Deflate{}, none},
		{"permessage-deflate; x, permessage-deflate", Deflate{}, none},
		{"permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=9, permessage-deflate", Deflate{}, none + "; server_max_window_bits=9"},

		{"", Deflate{}, ""},
		{"permessage-bzip2", Deflate{}, ""},
		{"x-webkit-deflate-frame", Deflate{}, ""},
		{"permessage-deflate; unknown", Deflate{}, ""},
		{"permessage-deflate; unknown=1", Deflate{}, ""},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", Deflate{}, ""},
		{"permessage-deflate; server_no_context_takeover=1", Deflate{}, ""},
		{"permessage-deflate; client_no_context_takeover=true", Deflate{}, ""},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=9", Deflate{}, ""},
		{"permessage-deflate; server_max_window_bits", Deflate{}, ""},
		{"permessage-deflate; server_max_window_bits=7", Deflate{}, ""},
		{"permessage-deflate; server_max_window_bits=16", Deflate{}, ""},
		{"permessage-deflate; server_max_window_bits=09", Deflate{}, ""},
		{"permessage-deflate; server_max_window_bits=+9", Deflate{}, ""},
		{"permessage-deflate; client_max_window_bits=0", Deflate{}, ""},
		{"permessage-deflate; client_max_window_bits=x", Deflate{}, ""},
	}
	for _, tt := range tests {
		offers, err := parseExtensions(extensionsIn(tt.offer))
		if err != nil {
			t.Fatal(err)
		}
		var a agreement
		a.accept(offers, []Extension{&tt.options})
		if a.extensions != tt.want || (a.rsv != 0) != (tt.want != "") {
			t.Errorf("%q, %+v: answered %q, want %q", tt.offer, tt.options, a.extensions, tt.want)
		}
	}
}

// What a client offers, and which answers it takes; the result says how it sends.
func TestDeflateConfirm(t *testing.T) {
	takeover := Deflate{ServerTakeover: true, ClientTakeover: true}
	small := Deflate{ServerTakeover: true, ClientTakeover: true, ServerWindowBits: 10, ClientWindowBits: 11}
	defaults := "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
	tests := []struct {
		options Deflate
		offer   string
		answer  string
		want    string // the window it sends with, its takeover, and what it keeps of what it gets
	}{
		{Deflate{}, defaults, "permessage-deflate; server_no_context_takeover", "15 false 0"},
		{Deflate{}, defaults, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", "15 false 0"},
		{Deflate{}, defaults, "permessage-deflate; client_max_window_bits=8; server_no_context_takeover", "8 false 0"},
		{Deflate{}, defaults, `permessage-deflate; server_max_window_bits="9"; server_no_context_takeover`, "15 false 0"},
		{takeover, "permessage-deflate; client_max_window_bits", "permessage-deflate", "15 true 32768"},
		{takeover, "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover", "15 true 0"},
		{takeover, "permessage-deflate; client_max_window_bits", "permessage-deflate; client_no_context_takeover", "15 false 32768"},
		{takeover, "permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=9; client_max_window_bits=12", "12 true 512"},
		{small, "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11", "permessage-deflate; server_max_window_bits=9", "11 true 512"},
		{small, "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11", "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9", "9 true 1024"},

		{Deflate{}, defaults, "permessage-deflate", "error"},
		{small, "", "permessage-deflate", "error"},
		{small, "", "permessage-deflate; server_max_window_bits=11", "error"},
		{small, "", "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12", "error"},
		{takeover, "", "permessage-deflate; client_max_window_bits", "error"},
		{takeover, "", "permessage-deflate; server_max_window_bits", "error"},
		{takeover, "", "permessage-deflate; server_max_window_bits=16", "error"},
		{takeover, "", "permessage-deflate; client_max_window_bits=7", "error"},
		{takeover, "", "permessage-deflate; client_max_window_bits=09", "error"},
		{takeover, "", "permessage-deflate; unknown", "error"},
		{takeover, "", "permessage-deflate; server_no_context_takeover=1", "error"},
		{takeover, "", "permessage-deflate; client_no_context_takeover; client_no_context_takeover", "error"},
		{takeover, "", "permessage-deflate, permessage-deflate", "error"},
		{takeover, "", "permessage-other", "error"},
	}
	for _, tt := range tests {
		if offer := offerOf([]Extension{&tt.options}); tt.offer != "" && offer != tt.offer {
			t.Errorf("%+v: offered %q, want %q", tt.options, offer, tt.offer)
		}
		answers, err := parseExtensions(extensionsIn(tt.answer))
		if err != nil {
			t.Fatal(err)
		}
		var a agreement
		got := "error"
		if err := a.confirm(answers, []Extension{&tt.options}); err == nil {
			switch c := a.codecs[0].(type) {
			case *deflateCodec:
				got = fmt.Sprint(c.bits, " ", false, " ", c.keeps)
			case *takeoverCodec:
				got = fmt.Sprint(c.bits, " ", true, " ", c.keeps)
			}
		}
		if got != tt.want {
			t.Errorf("%+v: the answer %q gives %s, want %s", tt.options, tt.answer, got, tt.want)
		}
	}
}

func TestDeflateOptions(t *testing.T) {
	for _, d := range []Deflate{{Level: 10}, {Level: -1}, {ServerWindowBits: 7}, {ClientWindowBits: 16}} {
		if _, err := Dial(context.Background(), "ws://127.0.0.1:1", &DialOptions{Compression: &d}); err == nil || !strings.Contains(err.Error(), "Compression.") {
			t.Errorf("%+v: %v", d, err)
		}
		if _, _, err := (&AcceptOptions{Compression: &d}).fill(); err == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}

// quotes makes text as programs send it.
func quotes(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, `{"symbol":"EUR%02d","bid":1.%05d,"ask":1.%05d,"time":%d},`, rand.IntN(30), rand.IntN(1e5), rand.IntN(1e5), 1700000000+rand.IntN(1e5))
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// Every window and takeover, both ways over real sockets, from nothing to 10 MB.
func TestDeflateWindows(t *testing.T) {
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		for i, takeover := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
			messages := [][]byte{quotes(100), {}, quotes(600), quotes(600), noise(700), bytes.Repeat([]byte("0123456789"), 90), quotes(5000), noise(20000), quotes(70_000), quotes(600)}
			there, back := messages, messages
			if bits == 9 && takeover == [2]bool{false, true} {
				there = append(messages[:len(messages):len(messages)], bytes.Repeat(quotes(1<<16), 160), quotes(600))
			} else if bits == 15 && i == 0 {
				back = append(messages[:len(messages):len(messages)], bytes.Repeat(quotes(1<<16), 160), quotes(600))
			}
			t.Run(fmt.Sprint(bits, takeover), func(t *testing.T) {
				asked := &Deflate{ServerTakeover: takeover[0], ClientTakeover: takeover[1], ServerWindowBits: bits, ClientWindowBits: bits}
				able := &Deflate{ServerTakeover: true, ClientTakeover: true, Level: 1 + i}
				client, server := both(t, &AcceptOptions{Compression: able}, &DialOptions{Compression: asked})
				if !strings.Contains(client.Extensions(), deflateName) || bits < maxWindowBits && !strings.Contains(client.Extensions(), fmt.Sprintf("%s=%d; %s=%d", serverWindow, bits, clientWindow, bits)) {
					t.Fatalf("agreed on %q", client.Extensions())
				}
				sendAll(t, client, server, there)
				sendAll(t, server, client, back)
			})
		}
	}
}

// sendAll sends messages, each written and, unless it is large, prepared.
func sendAll(t *testing.T, from, to *Conn, messages [][]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	go func() {
		for _, m := range messages {
			from.Write(ctx, BinaryMessage, m)
			if len(m) < 1<<20 {
				from.WritePrepared(ctx, Prepare(BinaryMessage, m))
			}
		}
	}()
	for i, want := range messages {
		for n := range 2 {
			if n > 0 && len(want) >= 1<<20 {
				break
			}
			if _, got, err := to.Read(ctx); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("message %d of %d bytes: got %d, %v", i, len(want), len(got), err)
			}
		}
	}
}

// What is sent holds no reference further back than the window, into the message or, with takeover, those before.
func TestDeflateDistances(t *testing.T) {
	block := quotes(40000)
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		for _, level := range []int{1, 5, 9} {
			p := deflateParams{serverBits: bits}
			keeping := (&Deflate{Level: level, Threshold: -1}).codec(p, true)
			p.serverNoTakeover = true
			alone := (&Deflate{Level: level, Threshold: -1}).codec(p, true)
			for _, codec := range []Codec{keeping, alone} {
				var all []byte
				refers := false
				for _, m := range [][]byte{block[:700], block[:700], block, bytes.Repeat(block[:1<<bits], 2), block[:200], bytes.Repeat([]byte("x"), 70000), block[:700]} {
					b, changed, err := codec.Encode(nil, TextMessage, m)
					if err != nil || !changed {
						t.Fatalf("%d bytes: %v %v", len(m), changed, err)
					}
					before := all
					if codec == alone {
						before = nil
					}
					out, far, outside := slowInflate(t, b, before)
					if !bytes.Equal(out, m) || far > 1<<bits {
						t.Errorf("%d bits, level %d, %d bytes: refers %d bytes back, %v", bits, level, len(m), far, bytes.Equal(out, m))
					}
					refers = refers || outside
					all = append(all, m...)
				}
				if refers != (codec == keeping) {
					t.Errorf("%d bits, level %d: refers to messages before: %v", bits, level, refers)
				}
			}
		}
	}
}

// One frame for all that can take it, and the plain one for the others.
func TestPreparedCompressed(t *testing.T) {
	message := quotes(3000)
	p := Prepare(TextMessage, message)
	one, _ := deflated(t, true, deflateParams{serverNoTakeover: true}, nil)
	two, _ := deflated(t, true, deflateParams{serverNoTakeover: true}, nil)
	small, _ := deflated(t, true, deflateParams{serverNoTakeover: true, serverBits: 9}, nil)
	roomy, _ := deflated(t, true, deflateParams{serverNoTakeover: true, serverBits: 12}, nil)
	keeping, _ := deflated(t, true, deflateParams{}, nil)
	plain, _ := connect(t, true, nil)
	frames := map[string][]byte{"one": p.For(one), "two": p.For(two), "small": p.For(small), "roomy": p.For(roomy), "keeping": p.For(keeping), "plain": p.For(plain)}
	same := func(a, b string) bool { return &frames[a][0] == &frames[b][0] }
	if !same("one", "two") || !same("one", "roomy") || same("one", "small") || same("one", "plain") || !same("keeping", "plain") || !bytes.Equal(p.Bytes(), frames["plain"]) {
		t.Error("the frames are not shared as they should be")
	}
	if frames["one"][0] != finBit|deflateBit|OpText || len(frames["one"]) > len(message)/2 {
		t.Errorf("the frame of %d bytes starts with %x", len(frames["one"]), frames["one"][0])
	}
	if below := Prepare(TextMessage, message[:511]); &below.For(one)[0] != &below.Bytes()[0] {
		t.Error("a message below the threshold is compressed")
	}
	if random := Prepare(BinaryMessage, noise(600)); &random.For(one)[0] != &random.Bytes()[0] {
		t.Error("what grows is compressed")
	}
}

// Short messages that resemble each other shrink with takeover, though the first has nothing to refer to; and what is random does not stop them.
func TestDeflateTakeoverShort(t *testing.T) {
	options := &Deflate{ServerTakeover: true, Threshold: -1}
	client, server := both(t, &AcceptOptions{Compression: options}, &DialOptions{Compression: options})
	size, last := 0, uint64(0)
	for i := range 100 {
		m := fmt.Appendf(nil, `{"id":%d,"bid":1.0%04d,"ask":1.0%04d}`, 1000+i, (i*7919)%10000, (i*104729)%10000)
		if i == 50 {
			m = noise(40)
		}
		if err := server.Write(testContext(t), BinaryMessage, m); err != nil {
			t.Fatal(err)
		}
		if _, got, err := client.Read(testContext(t)); err != nil || !bytes.Equal(got, m) {
			t.Fatalf("message %d: got %q, %v; want %q", i, got, err, m)
		}
		sent, _ := server.Stats()
		if n := int(sent - last); i > 0 && i != 50 {
			size += n - 2 // without the frame's header
		}
		last = sent
	}
	if mean := size / 98; mean > 28 {
		t.Errorf("messages of about 40 bytes are sent as %d on average", mean)
	} else {
		t.Logf("%d bytes on average", mean)
	}
}

// With takeover, encoding and sending are one step, whoever sends, and whichever of them gives up.
func TestDeflateTakeoverManyGoroutines(t *testing.T) {
	options := &Deflate{ServerTakeover: true, ClientTakeover: true, Threshold: -1}
	client, server := both(t, &AcceptOptions{Compression: options}, &DialOptions{Compression: options})
	ctx := testContext(t)
	sent := make(chan string, 1000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				m := quotes(200 + rand.IntN(20000))
				some, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
				if err := server.Write(some, TextMessage, m); err == nil {
					sent <- string(m)
				}
				cancel()
			}
		})
	}
	go func() {
		wg.Wait()
		close(sent)
		server.Close(CloseNormal, "")
	}()
	got := map[string]bool{}
	for {
		_, m, err := client.Read(ctx)
		if err != nil {
			if code, _ := client.CloseReceived(); code != CloseNormal {
				t.Fatal(err)
			}
			break
		}
		got[string(m)] = true
	}
	for m := range sent {
		if !got[m] {
			t.Fatal("a message is lost")
		}
	}
}

// deflated gives one end of a connection over a real socket that has agreed on compression, and the bare other end.
func deflated(t testing.TB, server bool, p deflateParams, o *AcceptOptions) (*Conn, *peer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, s, err := o.fill()
	if err != nil {
		t.Fatal(err)
	}
	var a agreement
	a.add((&Deflate{}).codec(p, server))
	c := newConn(near, nil, a, s, connInfo{server: server})
	c.open()
	t.Cleanup(c.CloseNow)
	return c, newPeer(t, far)
}
