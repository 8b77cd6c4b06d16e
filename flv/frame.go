package flv

import (
	"slices"
	"time"

	"hawser/media"
)

// AppendFrame appends the audio or video body for a frame of the track, or the sequence header where f.Config is set, and
// gives its type, which a tag and an RTMP message carry beside it. A data frame's body is its Data. It appends nothing and gives
// type 0 for a codec that FLV cannot carry, and for parameters of a codec that has none.
func AppendFrame(dst []byte, t media.Track, f media.Frame) (typ byte, body []byte) {
	dst = slices.Grow(dst, maxBodyHeader+len(f.Data))
	switch {
	case f.Kind == media.Data:
		return TypeScript, append(dst, f.Data...)
	case t.Codec == media.H264:
		return TypeVideo, append(appendAVCHeader(dst, f), f.Data...)
	case t.Codec == media.AAC:
		packet := byte(packetFrame)
		if f.Config {
			packet = packetConfig
		}
		return TypeAudio, append(append(dst, audioAAC<<4|15, packet), f.Data...) // 44 kHz, 16 bits, stereo: always so for AAC
	case t.Codec == media.MP3 && !f.Config:
		return TypeAudio, append(append(dst, mp3Flags(t)), f.Data...)
	}
	return 0, dst
}

// appendAVCHeader appends the first bytes of an AVC body. The composition offset is the difference of the two times in
// whole milliseconds, so that rounding never adds up.
func appendAVCHeader(dst []byte, f media.Frame) []byte {
	kind := byte(frameInter)
	if f.Key || f.Config {
		kind = frameKey
	}
	if f.Config {
		return append(dst, kind<<4|videoAVC, packetConfig, 0, 0, 0)
	}
	const limit = 1<<23 - 1
	offset := min(max(floorMillis(f.PTS)-floorMillis(f.DTS), -limit-1), limit)
	return append(dst, kind<<4|videoAVC, packetFrame, byte(offset>>16), byte(offset>>8), byte(offset))
}

func floorMillis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d%time.Millisecond < 0 {
		ms--
	}
	return ms
}

// mp3Flags gives the first byte of an MP3 body.
func mp3Flags(t media.Track) byte {
	format, rate := byte(audioMP3), byte(3)
	switch {
	case t.SampleRate == 8000:
		format, rate = audioMP3At8k, 0
	case t.SampleRate < 11025:
		rate = 0
	case t.SampleRate < 22050:
		rate = 1
	case t.SampleRate < 44100:
		rate = 2
	}
	flags := format<<4 | rate<<2 | 2
	if t.Channels != 1 {
		flags |= 1
	}
	return flags
}
