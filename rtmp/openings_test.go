package rtmp

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"hawser/lifecycle"
	"hawser/ring"
)

var update = flag.Bool("update", false, "record testdata/openings from the programs again")

// openings are what real clients send after the handshake, up to publish or play. Each is kept as bytes and, to be read, as text.
var openings = []struct {
	name string
	want string // the event that it leads to
	args []string
}{
	{"ffmpeg-publish", "publish /live/cam1 live", []string{"ffmpeg", "-v", "error", "-i", "CLIP", "-c", "copy", "-f", "flv", "URL"}},
	{"ffmpeg-play", "play /live/cam1", []string{"ffmpeg", "-v", "error", "-i", "URL", "-f", "null", "-"}},
	{"librtmp-publish", "publish /live/cam1 live", []string{"gst-launch-1.0", "-q", "filesrc", "location=CLIP", "!", "rtmpsink", "location=URL"}},
	{"librtmp-play", "play /live/cam1", []string{"rtmpdump", "-q", "-r", "URL", "-o", "/dev/null"}},
	{"gstreamer-publish", "publish /live/cam1 live", []string{"gst-launch-1.0", "-q", "filesrc", "location=CLIP", "!", "flvdemux", "!", "h264parse", "!", "flvmux", "!", "rtmp2sink", "location=URL"}},
	{"gstreamer-play", "play /live/cam1", []string{"gst-launch-1.0", "-q", "rtmp2src", "location=URL", "!", "fakesink"}},
	{"vlc-play", "play /live/cam1", []string{"cvlc", "-q", "-I", "dummy", "--sout", "#standard{access=file,mux=ts,dst=/dev/null}", "URL", "vlc://quit"}},
}

// TestOpenings replays them in pieces of several sizes.
func TestOpenings(t *testing.T) {
	for _, test := range openings {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join("testdata", "openings", test.name)
			if *update {
				recordOpening(t, file, test.args)
			}
			b, err := os.ReadFile(file + ".bin")
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := describe(b); got != string(text) {
				t.Errorf("got\n%s\nwant\n%s", got, text)
			}
			shaken := append(newHandshake(true).first(), make([]byte, handshakePart)...)
			for _, step := range []int{len(b) + len(shaken), 1000, 7} {
				r := newRelay(t, nil)
				nc := r.connect()
				for piece := range slices.Chunk(append(slices.Clone(shaken), b...), step) {
					if _, err := nc.Write(piece); err != nil {
						t.Fatal(err)
					}
				}
				r.await(test.want)
			}
		})
	}
}

// describe turns the bytes after a handshake into text, a message a line, up to the publish or play command; end is where that ends.
func describe(b []byte) (text string, end int) {
	var out strings.Builder
	r := NewChunkReader(Limits{})
	for end = range b {
		found := false
		err := r.Feed(b[end:end+1], func(m Message) error {
			fmt.Fprintf(&out, "%s on stream %d, chunk stream %d: ", typeName(m.Type), m.StreamID, m.ChunkStream)
			if m.Type != TypeCommand {
				fmt.Fprintf(&out, "%x\n", m.Payload)
				return nil
			}
			cmd, err := parseCommand(m)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "%s %v %v %v\n", cmd.Name, cmd.Transaction, cmd.Object, cmd.Args)
			found = cmd.Name == "publish" || cmd.Name == "play"
			return nil
		})
		if err != nil {
			fmt.Fprintln(&out, err)
		}
		if found || err != nil {
			break
		}
	}
	return out.String(), end + 1
}

// recorder keeps what is read from a connection.
type recorder struct {
	net.Conn
	mu  sync.Mutex
	got []byte
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.mu.Lock()
	r.got = append(r.got, b[:n]...)
	r.mu.Unlock()
	return n, err
}

func recordOpening(t *testing.T, file string, args []string) {
	movie := clip(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.NewReplacer("CLIP", movie, "URL", "rtmp://"+ln.Addr().String()+"/live/cam1").Replace(args[i])
	}
	need(t, args[0])
	p := start(t, args[0], args[1:]...)
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{Conn: nc}
	begun := make(chan struct{})
	note := func(context.Context, *Stream) error { close(begun); return nil }
	s := &Server{Log: lifecycle.NewLog(ring.Limits{}), Handler: &Handler{OnPublish: note, OnPlay: note}}
	done := make(chan struct{})
	go func() { s.ServeConn(t.Context(), rec); close(done) }()
	<-begun
	p.cmd.Process.Kill()
	p.cmd.Wait()
	<-done
	text, end := describe(rec.got[handshakeBytes:])
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{".bin": rec.got[handshakeBytes : handshakeBytes+end], ".txt": []byte(text)} {
		if err := os.WriteFile(file+name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
