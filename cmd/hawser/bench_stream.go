package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"hawser/flv"
	"hawser/rtmp"
)

// The stream that `hawser bench` sends: H264 without B-frames, and AAC but where WebRTC is to carry it: about 73 messages a second, or 30.
const (
	benchFrameRate = 30
	benchGOP       = 60   // frames from keyframe to keyframe
	benchKeyFactor = 6    // a keyframe is as large as that many others
	benchAudioStep = 1024 // samples in an audio frame
	benchAudioRate = 44100
	benchAudioSize = 370 // bytes, 128 kbit/s
)

// stampSize is how many bytes benchMagic and the time behind it have.
const stampSize = 16

// benchMagic stands in each video frame before the time at which it was sent, so that a viewer finds both in the bytes of any protocol.
var benchMagic = []byte("hawserTS")

// benchStream makes the messages of the stream, in the order of their time.
type benchStream struct {
	bitrate int  // bits per second
	silent  bool // without sound
	video   int  // frames made
	audio   int
	random  []byte
}

func newBenchStream(kbps int, silent bool) *benchStream {
	s := &benchStream{bitrate: kbps * 1000, silent: silent}
	s.random = make([]byte, 8<<20)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(s.random)
	for i := range s.random { // no start code and no magic can come of this
		s.random[i] |= 0x80
	}
	return s
}

// frameSize is how many bytes of picture a video frame has.
func (s *benchStream) frameSize(key bool) int {
	audio := benchAudioSize * 8 * benchAudioRate / benchAudioStep
	if s.silent {
		audio = 0
	}
	mean := (s.bitrate - audio) / 8 / benchFrameRate
	small := mean * benchGOP / (benchGOP - 1 + benchKeyFactor)
	if key {
		small *= benchKeyFactor
	}
	return max(small, 64)
}

// next returns the next message and when it is due from the start.
func (s *benchStream) next() (m rtmp.Message, due time.Duration) {
	video := time.Duration(s.video) * time.Second / benchFrameRate
	audio := time.Duration(s.audio) * time.Second * benchAudioStep / benchAudioRate
	if audio < video && !s.silent {
		s.audio++
		body := append([]byte{0xAF, 1}, s.random[:benchAudioSize]...)
		return rtmp.Message{Type: rtmp.TypeAudio, StreamID: rtmp.MediaStreamID, Timestamp: uint32(audio.Milliseconds()), Payload: body}, audio
	}
	key := s.video%benchGOP == 0
	s.video++
	return rtmp.Message{Type: rtmp.TypeVideo, StreamID: rtmp.MediaStreamID, Timestamp: uint32(video.Milliseconds()), Payload: s.picture(key)}, video
}

// benchSize is how many bytes and messages a second of the stream has, with the headers of RTMP.
func benchSize(kbps int, silent bool) (bytes, messages int) {
	const seconds = 10
	s := newBenchStream(kbps, silent)
	for m, due := s.next(); due < seconds*time.Second; m, due = s.next() {
		bytes += len(rtmp.AppendMessage(nil, rtmp.OwnChunkSize, m))
		messages++
	}
	return bytes / seconds, messages / seconds
}

// picture makes a video frame's body: the FLV header, and one NAL unit that has the magic and 8 bytes for the time near its beginning.
func (s *benchStream) picture(key bool) []byte {
	n := s.frameSize(key)
	first, nal := byte(0x27), byte(0x41)
	if key {
		first, nal = 0x17, 0x65
	}
	body := append(make([]byte, 0, n+16), first, 1, 0, 0, 0)
	body = binary.BigEndian.AppendUint32(body, uint32(n))
	body = append(append(body, nal, 0x80), benchMagic...) // 0x80: a slice that is the first of its picture
	body = append(body, make([]byte, 8)...)
	from := rand.IntN(len(s.random) - n)
	return append(body, s.random[from:from+n-18]...)
}

// stamp writes the time into a video frame's body.
func stamp(body []byte, now time.Time) {
	if i := bytes.Index(body[:min(len(body), 64)], benchMagic); i >= 0 {
		binary.BigEndian.PutUint64(body[i+8:], uint64(now.UnixNano()))
	}
}

// run sends the stream at its pace until ctx ends.
func (s *benchStream) run(ctx context.Context, send func(rtmp.Message) error) error {
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m, due := s.next()
		timer.Reset(time.Until(begin.Add(due)))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		stamp(m.Payload, time.Now())
		if err := send(m); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// sampleHeaders gives what the sample clip begins with: metadata and the sequence headers, that of the sound unless it is to be silent.
func sampleHeaders(silent bool, each func(flv.Tag) error) error {
	tags := flv.NewReader(bufio.NewReader(bytes.NewReader(sample)))
	for range 3 {
		t, err := tags.Next()
		if err != nil {
			return fmt.Errorf("sample: %w", err)
		}
		if silent && t.Type == rtmp.TypeAudio {
			continue
		}
		if err := each(t); err != nil {
			return err
		}
	}
	return nil
}

// publishBench publishes the stream to a server. The codec parameters are those of the sample clip; nobody decodes what follows.
func publishBench(ctx context.Context, addr string, kbps int, silent bool) error {
	client, err := rtmp.Dial(ctx, "rtmp://"+addr+benchPath, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Publish(ctx); err != nil {
		return err
	}
	err = sampleHeaders(silent, func(t flv.Tag) error { return client.WriteMessage(ctx, rtmp.Message{Type: t.Type, Payload: t.Data}) })
	if err != nil {
		return err
	}
	return newBenchStream(kbps, silent).run(ctx, func(m rtmp.Message) error { return client.WriteMessage(ctx, m) })
}
