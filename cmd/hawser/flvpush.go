package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hawser/flv"
)

// flvPush plays an FLV file in real time, once or again and again as one stream without a seam in the timestamps.
type flvPush struct {
	open func() (io.ReadCloser, error)                // opens the file at its beginning
	send func(typ byte, ts uint32, body []byte) error // takes one message; ts is in milliseconds, from 0
	loop bool

	began time.Time
	base  int64           // milliseconds of the rounds before
	setup map[byte][]byte // what was said last, by tag type
	tags  int
	bytes int64
}

// run returns nil at the file's end, or the error of open, send, the file or ctx.
func (p *flvPush) run(ctx context.Context) error {
	p.began = time.Now()
	for {
		length, err := p.round(ctx)
		if err != nil || !p.loop {
			return err
		}
		if length <= 0 {
			return errors.New("the file has nothing to repeat")
		}
		p.base += length
	}
}

// round plays the file once and returns how many milliseconds it takes.
func (p *flvPush) round(ctx context.Context) (length int64, err error) {
	f, err := p.open()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := flv.NewReader(bufio.NewReaderSize(f, 1<<16))
	var line timeline
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return line.length(), nil
		}
		if err != nil {
			return 0, err
		}
		setup := isSetup(tag)
		if isEmpty(tag) || setup && p.known(tag) || p.loop && isSequenceEnd(tag) {
			continue
		}
		at := p.base + line.place(tag, setup)
		if err := p.wait(ctx, at); err != nil {
			return 0, err
		}
		if err := p.send(tag.Type, uint32(at), tag.Data); err != nil {
			return 0, err
		}
		p.tags++
		p.bytes += int64(len(tag.Data))
	}
}

// known tells whether the stream has said the same before, and takes note of it.
func (p *flvPush) known(t flv.Tag) bool {
	if bytes.Equal(p.setup[t.Type], t.Data) {
		return true
	}
	if p.setup == nil {
		p.setup = make(map[byte][]byte)
	}
	p.setup[t.Type] = t.Data
	return false
}

// wait returns when a message of that time in milliseconds is due.
func (p *flvPush) wait(ctx context.Context, at int64) error {
	ahead := time.Until(p.began.Add(time.Duration(at) * time.Millisecond))
	if ahead <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timeline is where the tags of one round stand, counted from the first frame.
type timeline struct {
	begun        bool
	first        int64
	audio, video frames
}

// place gives a tag's time in milliseconds, and takes note of it when it is a frame.
func (l *timeline) place(tag flv.Tag, setup bool) int64 {
	ts := int64(tag.Timestamp)
	if !l.begun {
		if setup {
			return 0
		}
		l.begun, l.first = true, ts
	}
	at := max(0, ts-l.first)
	switch {
	case setup:
	case tag.Type == flv.TypeAudio:
		l.audio.frame(at)
	case tag.Type == flv.TypeVideo:
		l.video.frame(at)
	}
	return at
}

// frames is when a track's frames of one round are.
type frames struct{ first, last, count int64 }

func (f *frames) frame(at int64) {
	if f.count == 0 {
		f.first = at
	}
	f.last = at
	f.count++
}

// length is the time of the longer track, its last frame included, which is taken to last as long as the others do on average.
func (l *timeline) length() (ms int64) {
	for _, f := range []frames{l.audio, l.video} {
		if n := f.count - 1; n > 0 {
			ms = max(ms, f.last+(f.last-f.first+n/2)/n)
		}
	}
	return ms
}

// isSetup tells what a stream says once, at its beginning: script data and codec parameters (FLV 10.1 annex E.4.2 and E.4.3,
// Enhanced RTMP's ExVideoTagHeader and ExAudioTagHeader).
func isSetup(t flv.Tag) bool {
	return t.Type == flv.TypeScript || packetType(t) == 0
}

// isSequenceEnd tells the tag after which a player expects nothing more.
func isSequenceEnd(t flv.Tag) bool {
	return t.Type == flv.TypeVideo && packetType(t) == 2
}

// isEmpty tells a tag without content; ffmpeg begins files with codec parameters that are empty.
func isEmpty(t flv.Tag) bool {
	switch {
	case packetType(t) != 0:
		return len(t.Data) == 0
	case t.Type == flv.TypeVideo:
		return len(t.Data) <= videoHeader
	}
	return len(t.Data) <= audioHeader
}

const (
	audioHeader = 2 // bytes of an AAC tag before its content
	videoHeader = 5 // of an AVC tag
)

const (
	exHeader   = 0x80 // of video: Enhanced RTMP
	codecAVC   = 7
	soundAAC   = 10
	soundEx    = 9 // Enhanced RTMP
	packetNone = -1
)

// packetType is 0 for codec parameters, 1 for frames and 2 for the end, packetNone where the codec has no such thing.
func packetType(t flv.Tag) int {
	if len(t.Data) < 2 {
		return packetNone
	}
	head := t.Data[0]
	switch {
	case t.Type == flv.TypeVideo && head&exHeader != 0, t.Type == flv.TypeAudio && head>>4 == soundEx:
		return int(head & 0x0f)
	case t.Type == flv.TypeVideo && head&0x0f == codecAVC, t.Type == flv.TypeAudio && head>>4 == soundAAC:
		return int(t.Data[1])
	}
	return packetNone
}

func (p *flvPush) String() string {
	return fmt.Sprintf("%d messages, %d bytes, %v", p.tags, p.bytes, time.Since(p.began).Round(time.Millisecond))
}
