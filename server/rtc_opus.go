package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/rtc"
	"hawser/stream"
)

// The kinds of event about sound that is made Opus for WebRTC, with the protocol "rtc".
const (
	// KindOpus: the sound of a path is made Opus from now on; Detail says from what.
	KindOpus = "opus"
	// KindOpusFailed: it could not be made; Reason says why, Delay when it is tried again.
	KindOpusFailed = "opus_failed"
)

const (
	// What the program that makes Opus is given until it is started anew after a failure; the time doubles.
	opusRetry, opusRetryMost = time.Second, 30 * time.Second
	// opusKept is how much of the sound that was made is kept for those who write it.
	opusKept = 500
	// opusLeap is how far the times of sound may be from what its frames last for before the program is started anew, so that sound and pictures stay in step.
	opusLeap = 200 * time.Millisecond
	// opusPacket is how many samples a packet of Opus has here: 20 ms.
	opusPacket = 960
	opusRate   = 48000
	// maxOggPage bounds a page of Ogg (RFC 3533 section 6).
	maxOggPage = 27 + 255 + 255*255
)

// opusMaker makes Opus of the sound of streams, once for all WebRTC viewers of each, while there are any. nil makes none.
type opusMaker struct {
	server  *Server
	program string // of ffmpeg; empty when it is not there

	mu    sync.Mutex
	feeds map[string]*opusFeed
}

// opusFeed is the Opus of one stream.
type opusFeed struct {
	maker  *opusMaker
	path   string
	users  int // guarded by maker.mu
	stop   context.CancelFunc
	groups *ring.Ring[[]byte]
}

// newOpus looks for the program.
func (s *Server) newOpus(program string) {
	if program == "" {
		return
	}
	path, err := exec.LookPath(program)
	if err != nil {
		s.log.Add(lifecycle.Event{Kind: KindOpusFailed, Protocol: overRTC, Side: lifecycle.Server, Light: lifecycle.Amber, Reason: lifecycle.ReasonNotFound.With("%v: sound in AAC is left out over WebRTC", err)})
	}
	s.opus = &opusMaker{server: s, program: path, feeds: make(map[string]*opusFeed)}
}

// makes says whether Opus is made of a track; otherwise why not, where that was wanted.
func (m *opusMaker) makes(t media.Track) (opus media.Track, why string, ok bool) {
	switch {
	case m == nil || t.Codec != media.AAC:
		return t, "", false
	case m.program == "":
		return t, "ffmpeg, which would make Opus of it, is not there", false
	}
	opus = media.OpusTrack(2)
	opus.ID = t.ID
	return opus, "", true
}

// follow begins to make the Opus of a path, unless that is made already. It is to be released.
func (m *opusMaker) follow(path string) *opusFeed {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.feeds[path]
	if f == nil {
		f = &opusFeed{maker: m, path: path, groups: ring.New[[]byte](1, 0, ring.Limits{Count: opusKept})}
		ctx, cancel := context.WithCancel(m.server.ctx)
		f.stop = cancel
		m.feeds[path] = f
		m.server.wait.Go(func() { f.run(ctx) })
	}
	f.users++
	return f
}

func (f *opusFeed) release() {
	f.maker.mu.Lock()
	defer f.maker.mu.Unlock()
	if f.users--; f.users == 0 {
		f.stop()
		delete(f.maker.feeds, f.path)
	}
}

// run keeps the program running until ctx ends.
func (f *opusFeed) run(ctx context.Context) {
	wait := opusRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := f.make(ctx)
		if ctx.Err() != nil || errors.Is(err, errAnew) && time.Since(began) > opusRetry {
			continue
		}
		if time.Since(began) > opusRetryMost {
			wait = opusRetry
		}
		f.tell(lifecycle.Event{Kind: KindOpusFailed, Reason: lifecycle.ReasonInternal.With("%v", err), Delay: wait})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, opusRetryMost)
	}
}

func (f *opusFeed) tell(e lifecycle.Event) {
	e.Protocol, e.Side, e.Path, e.Light = overRTC, lifecycle.Server, f.path, lifecycle.Green
	if e.Kind == KindOpusFailed {
		e.Light = lifecycle.Amber
	}
	f.maker.server.log.Add(e)
}

// errAnew says that the program is to be started anew at once: the sound has other parameters, or its times leap.
var errAnew = errors.New("the times of the sound leap")

// make runs the program once.
func (f *opusFeed) make(ctx context.Context) error {
	viewer, err := f.maker.server.streams.View(f.path, adtsFormat, "opus")
	if err != nil {
		return err
	}
	defer viewer.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var stderr tail
	cmd := exec.CommandContext(ctx, f.maker.program, "-hide_banner", "-loglevel", "error", "-fflags", "nobuffer", "-probesize", "2048", "-analyzeduration", "0", "-f", "aac", "-i", "pipe:0",
		"-c:a", "libopus", "-b:a", "128k", "-ar", "48000", "-ac", "2", "-frame_duration", "20", "-f", "ogg", "-page_duration", "20000", "-flush_packets", "1", "pipe:1")
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	f.tell(lifecycle.Event{Kind: KindOpus, Detail: "of aac"})
	first := make(chan time.Duration, 1) // the time of the first frame that goes in
	reading := make(chan error, 1)
	go func() {
		reading <- f.read(out, first)
		cancel()
	}()
	err = f.write(ctx, viewer, in, first)
	in.Close()
	cancel()
	rerr := <-reading
	cmd.Wait()
	switch {
	case errors.Is(err, errAnew):
		return errAnew
	case stderr.String() != "":
		return fmt.Errorf("ffmpeg: %s", stderr.String())
	}
	return errors.Join(err, rerr)
}

// write gives the program the frames of sound.
func (f *opusFeed) write(ctx context.Context, viewer *stream.Viewer, in io.Writer, first chan<- time.Duration) error {
	woken := make(waker, 1)
	var expected time.Duration
	began := false
	for {
		packets, _ := viewer.Fill(nil, 64<<10)
		for _, b := range packets {
			if len(b) < adtsTimes {
				return errAnew
			}
			at, lasts := time.Duration(binary.BigEndian.Uint64(b)), time.Duration(binary.BigEndian.Uint64(b[8:]))
			if !began {
				began, expected = true, at
				first <- at
			}
			if (at - expected).Abs() > opusLeap {
				return errAnew
			}
			expected += lasts
			if _, err := in.Write(b[adtsTimes:]); err != nil {
				return err
			}
		}
		if viewer.Ended() {
			return viewer.Why()
		}
		if len(packets) > 0 || !viewer.Arm(woken) {
			continue
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read takes the packets of Opus from the program's Ogg (RFC 7845).
func (f *opusFeed) read(out io.Reader, first <-chan time.Duration) error {
	packer, err := rtc.NewPacketizer(media.OpusTrack(2))
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(out, maxOggPage)
	var part []byte
	packets, skip, zero := 0, 0, time.Duration(0)
	for {
		segments, payload, err := readOggPage(r)
		if err != nil {
			return err
		}
		for _, n := range segments {
			part = append(part, payload[:n]...)
			payload = payload[n:]
			if n == 255 {
				continue // the packet goes on
			}
			switch {
			case packets == 0 && len(part) >= 12: // its header says how many samples are to be skipped
				skip = int(binary.LittleEndian.Uint16(part[10:]))
				zero = <-first
			case packets >= 2: // comments are between
				at := zero + time.Duration((packets-2)*opusPacket-skip)*time.Second/opusRate
				if g := packer.AppendGroup(nil, media.Frame{Kind: media.Audio, Key: true, DTS: at, PTS: at, Data: part}); len(g) > 0 {
					f.groups.Append(g, len(g), time.Now())
				}
			}
			packets++
			part = part[:0]
		}
	}
}

// readOggPage reads a page: the lengths of its segments and what is in them, which is valid until the next.
func readOggPage(r *bufio.Reader) (segments []byte, payload []byte, err error) {
	const header, count = 27, 26
	b, err := r.Peek(header)
	if err != nil {
		return nil, nil, err
	}
	if string(b[:4]) != "OggS" {
		return nil, nil, fmt.Errorf("ogg: got %q, want a page", b[:4])
	}
	n := header + int(b[count])
	if b, err = r.Peek(n); err != nil {
		return nil, nil, err
	}
	size := n
	for _, s := range b[header:] {
		size += int(s)
	}
	if b, err = r.Peek(size); err != nil {
		return nil, nil, err
	}
	b = bytes.Clone(b)
	r.Discard(size)
	return b[header:n], b[n:], nil
}

// tail keeps the end of what a program says.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 500
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.b = t.b[max(len(t.b)-most, 0):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.b)), "")
}

// adtsTimes stands before each frame of adtsFormat: its time, and how long it lasts, in nanoseconds.
const adtsTimes = 16

// adtsFormat is the first AAC of a stream as frames of ADTS (ISO 14496-3 section 1.A.3) behind adtsTimes; one byte alone says that its parameters change.
var adtsFormat = stream.Format{Name: "adts", New: func(_ *stream.Stream, state *stream.State) stream.Packer {
	return &adtsPacker{track: firstAAC(state.Tracks)}
}}

type adtsPacker struct{ track *media.Track }

func firstAAC(tracks []media.Track) *media.Track {
	if i := slices.IndexFunc(tracks, func(t media.Track) bool { return t.Codec == media.AAC }); i >= 0 {
		return &tracks[i]
	}
	return nil
}

// Pack implements stream.Packer.
func (p *adtsPacker) Pack(item ring.Item[stream.Item]) stream.Packet {
	it := &item.Value
	if it.Changed {
		t, old := firstAAC(it.State.Tracks), p.track
		p.track = t
		same := t == old || t != nil && old != nil && t.ID == old.ID && bytes.Equal(t.Config, old.Config)
		if it.State.Status == stream.Ended {
			return stream.Packet{End: true}
		}
		if same || old == nil || len(it.State.Tracks) == 0 {
			return stream.Packet{}
		}
		return stream.Packet{Data: []byte{0}}
	}
	f := it.Frame
	if p.track == nil || f.Track != p.track.ID || p.track.SampleRate <= 0 {
		return stream.Packet{}
	}
	samples := p.track.FrameSamples
	if samples <= 0 {
		samples = 1024
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, adtsTimes+7+len(f.Data)), uint64(f.DTS))
	b = binary.BigEndian.AppendUint64(b, uint64(time.Duration(samples)*time.Second/time.Duration(p.track.SampleRate)))
	b, ok := appendADTS(b, p.track, len(f.Data))
	if !ok {
		return stream.Packet{}
	}
	return stream.Packet{Data: append(b, f.Data...)}
}

// The sampling frequencies that ADTS has.
var adtsRates = []int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// appendADTS appends the header of a frame of AAC-LC, which is the core of HE-AAC too.
func appendADTS(dst []byte, t *media.Track, size int) ([]byte, bool) {
	rate, n := slices.Index(adtsRates, t.SampleRate), size+7
	channels := t.Channels
	if channels == 8 {
		channels = 7 // as configurations are counted
	}
	if rate < 0 || channels < 1 || channels > 7 || n >= 1<<13 {
		return dst, false
	}
	const lc = 1
	return append(dst, 0xff, 0xf1, lc<<6|byte(rate)<<2|byte(channels>>2), byte(channels)<<6|byte(n>>11), byte(n>>3), byte(n)<<5|0x1f, 0xfc), true
}
