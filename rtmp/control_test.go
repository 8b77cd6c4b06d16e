package rtmp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
)

// tape is a recording of a message every 40 ms, with a keyframe every 400 ms, that gives as many as it is let.
type tape struct {
	stream *Stream
	length int

	mu    sync.Mutex
	next  int
	limit int
	done  bool
	calls []string
}

func (p *tape) Fill(dst [][]byte, most int) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; p.next < min(p.limit, p.length); p.next++ {
		dst = append(dst, AppendMessage(nil, OwnChunkSize, Message{Type: TypeVideo, StreamID: MediaStreamID, Timestamp: uint32(p.next * 40), Payload: []byte{1}}))
	}
	if p.next == p.length && !p.done {
		p.done = true
		p.stream.Complete(time.Duration(p.length) * 40 * time.Millisecond)
	}
	return dst
}

func (p *tape) Pause(paused bool, at time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprint("pause ", paused, " ", at))
	if at == 13*time.Millisecond {
		return lifecycle.ReasonInternal.With("stuck")
	}
	return nil
}

func (p *tape) Seek(to time.Duration) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := int(to / (400 * time.Millisecond) * 10)
	if n >= p.length {
		return 0, lifecycle.ReasonBadRequest.With("beyond the end")
	}
	if to == 1 {
		return 0, errors.New("a broken disk")
	}
	p.next, p.done = n, false
	return time.Duration(n) * 40 * time.Millisecond, nil
}

func (p *tape) let(limit int) {
	p.mu.Lock()
	p.limit = limit
	p.mu.Unlock()
	p.stream.Wake()
}

// saw describes the next n things that a player gets, in one word each.
func saw(t *testing.T, v *Client, n int) (words []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for range n {
		it, err := v.next(ctx, nil)
		switch {
		case err != nil:
			t.Fatalf("after %q: %v", words, err)
		case it.cmd != nil:
			words = append(words, strings.TrimPrefix(it.cmd.info().String("code"), "NetStream."))
		case it.m.Type == TypeUserControl:
			words = append(words, fmt.Sprint("control ", it.m.Payload[1]))
		case it.m.Type == TypeData:
			values, _ := amf.Decode(it.m.Payload)
			info := amf.Members(values[1])
			words = append(words, fmt.Sprint(values[0], " ", info.String("code"), " ", info.Number("duration")))
		default:
			words = append(words, fmt.Sprint(it.m.Timestamp))
		}
	}
	return words
}

func wantSeen(t *testing.T, v *Client, want ...string) {
	t.Helper()
	if got := saw(t, v, len(want)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestRecorded plays a recording to its end, with pauses and seeks: what is given after each follows its answer.
func TestRecorded(t *testing.T) {
	tapes := make(chan *tape, 1)
	r := newRelay(t, func(s *Server) {
		s.Handler.OnPlay = func(_ context.Context, s *Stream) error {
			p := &tape{stream: s, length: 21}
			tapes <- p
			s.SetSource(p)
			return nil
		}
		s.Handler.OnStop = nil
	})
	v := dial(t, r.url("/live/cam1"), nil)
	if err := v.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := <-tapes
	p.let(2)
	wantSeen(t, v, "0", "40")
	v.Pause(true, 40*time.Millisecond)
	wantSeen(t, v, "control 1", "Pause.Notify")
	p.let(3)
	v.Seek(900 * time.Millisecond)
	wantSeen(t, v, "control 1", "control 4", "control 0", "Seek.Notify", "Play.Start")
	v.Pause(false, 800*time.Millisecond)
	wantSeen(t, v, "control 0", "Unpause.Notify")
	v.Seek(500 * time.Millisecond)
	p.let(12)
	wantSeen(t, v, "control 1", "control 4", "control 0", "Seek.Notify", "Play.Start", "400", "440")
	v.Seek(time.Hour)
	wantSeen(t, v, "Seek.InvalidTime")
	v.Pause(true, 13*time.Millisecond)
	wantSeen(t, v, "Failed")
	p.let(100)
	wantSeen(t, v, "480", "520", "560", "600", "640", "680", "720", "760", "800", "onPlayStatus NetStream.Play.Complete 0.84", "control 1", "Play.Stop")
	v.Seek(800 * time.Millisecond) // it may still go back
	wantSeen(t, v, "control 1", "control 4", "control 0", "Seek.Notify", "Play.Start", "800", "onPlayStatus NetStream.Play.Complete 0.84", "control 1", "Play.Stop")
	if want := []string{"pause true 40ms", "pause false 800ms", "pause true 13ms"}; !slices.Equal(p.calls, want) {
		t.Errorf("the source was told %q", p.calls)
	}
}

// TestRecordedAnnounced has a player told that the stream is a recording, before it starts.
func TestRecordedAnnounced(t *testing.T) {
	r := newRelay(t, func(s *Server) {
		s.Handler.OnPlay = func(_ context.Context, s *Stream) error {
			s.SetSource(&tape{stream: s, length: 1})
			return nil
		}
		s.Handler.OnStop = nil
	})
	v := dial(t, r.url("/live/cam1"), nil)
	if _, err := v.Call(t.Context(), "createStream"); err != nil {
		t.Fatal(err)
	}
	v.queue(command(1, "play", 0, nil, "cam1"))
	wantSeen(t, v, "control 4", "control 0", "Play.Reset", "Play.Start")
}

// What a source has goes out behind the answer to play, and behind that to a seek, however the writer's turns fall between.
func TestAnswersComeFirst(t *testing.T) {
	var stream atomic.Pointer[Stream]
	r := newRelay(t, func(s *Server) {
		s.Handler.OnPlay = func(_ context.Context, s *Stream) error {
			s.SetSource(&tape{stream: s, length: 1, limit: 1})
			stream.Store(s)
			return nil
		}
		s.Handler.OnStop = nil
	})
	v := play(t, r.url("/live/cam1"))
	media := []string{"0", "onPlayStatus NetStream.Play.Complete 0.04", "control 1", "Play.Stop"}
	wantSeen(t, v, media...)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			if s := stream.Load(); s != nil {
				s.Wake()
			}
			runtime.Gosched()
		}
	}()
	for range 300 {
		v.queue(command(1, "play", 0, nil, "cam1"))
		wantSeen(t, v, append([]string{"control 4", "control 0", "Play.Reset", "Play.Start"}, media...)...)
		v.Seek(0)
		wantSeen(t, v, append([]string{"control 1", "control 4", "control 0", "Seek.Notify", "Play.Start"}, media...)...)
		if t.Failed() {
			break
		}
	}
	cancel()
	<-over
}
