package flv

import (
	"slices"
	"time"

	"hawser/media"
)

// maxBodyHeader is the greatest number of bytes in a body before the frame: first byte, modifier of time, multitrack types, FourCC, number, composition offset.
const maxBodyHeader = 1 + 5 + 1 + 4 + 1 + 3

// AppendFrame appends the audio or video body for a frame of the track, or the sequence header where f.Config is set, and
// gives its type, which a tag and an RTMP message carry beside it. A data frame's body is its Data. It appends nothing and gives
// type 0 for a track that FLV cannot carry, and for parameters of a codec that has none here (VP8, MP3, AC-3, E-AC-3).
//
// H264, AAC and MP3 are written as the FLV specification has them, so that every player reads them, and all other codecs as Enhanced RTMP has them. A track whose
// TrackNumber is not 0 is written as the only track of a multitrack body. The composition offset is for H264 and HEVC only: other codecs have none in Enhanced RTMP.
func AppendFrame(dst []byte, t media.Track, f media.Frame) (typ byte, body []byte) {
	dst = slices.Grow(dst, maxBodyHeader+len(f.Data))
	switch {
	case f.Kind == media.Data:
		return TypeScript, append(dst, f.Data...)
	case !carried(t):
		return 0, dst
	case TrackNumber(t) > 0:
		return appendExtended(dst, t, f, 0)
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
	return appendExtended(dst, t, f, 0)
}

// AppendFrameNano is AppendFrame for a peer that reads modifiers (capsEx of its connect command has 0x04, Enhanced RTMP v2): it adds what f.DTS has beyond whole
// milliseconds, as the modifier TimestampOffsetNano, and then writes all codecs as Enhanced RTMP has them.
func AppendFrameNano(dst []byte, t media.Track, f media.Frame) (typ byte, body []byte) {
	nano := f.DTS % time.Millisecond
	if nano <= 0 || f.Config || f.Kind == media.Data || !carried(t) {
		return AppendFrame(dst, t, f)
	}
	return appendExtended(slices.Grow(dst, maxBodyHeader+len(f.Data)), t, f, nano)
}

// FourCC is the name by which AppendFrame's bodies call the track's codec, as Enhanced RTMP has it; "" for a track that is written as the FLV specification has it, which
// every player reads, and for one that FLV cannot carry.
func FourCC(t media.Track) string {
	if !carried(t) || TrackNumber(t) == 0 && (t.Codec == media.H264 || t.Codec == media.AAC || t.Codec == media.MP3) {
		return ""
	}
	return fourCCs[t.Codec]
}

// FourCCs are the names of all codecs that FourCC knows, in the order of media.Codec.
func FourCCs() []string {
	return slices.DeleteFunc(slices.Clone(fourCCs[:]), func(name string) bool { return name == "" })
}

// carried says whether a body can name the track.
func carried(t media.Track) bool {
	return int(t.Codec) < len(fourCCs) && fourCCs[t.Codec] != "" && t.ID >= 0 && TrackNumber(t) < MaxTracks
}

// appendExtended appends an Enhanced RTMP body.
func appendExtended(dst []byte, t media.Track, f media.Frame, nano time.Duration) (typ byte, body []byte) {
	if f.Config {
		return appendConfig(dst, t, f.Data)
	}
	if t.Codec.Kind() == media.Audio {
		return TypeAudio, append(appendExtendedHeader(dst, t, audioExtended<<4, packetFrame, nano), f.Data...)
	}
	first := byte(videoExtended | frameInter<<4)
	if f.Key {
		first = videoExtended | frameKey<<4
	}
	if t.Codec != media.H264 && t.Codec != media.HEVC {
		return TypeVideo, append(appendExtendedHeader(dst, t, first, packetFrame, nano), f.Data...)
	}
	offset := compositionMillis(f)
	if offset == 0 {
		return TypeVideo, append(appendExtendedHeader(dst, t, first, packetFrameX, nano), f.Data...)
	}
	dst = appendExtendedHeader(dst, t, first, packetFrame, nano)
	return TypeVideo, append(append(dst, byte(offset>>16), byte(offset>>8), byte(offset)), f.Data...)
}

// appendConfig appends a sequence header.
func appendConfig(dst []byte, t media.Track, config []byte) (typ byte, body []byte) {
	switch t.Codec {
	case media.VP8, media.MP3:
		return 0, dst
	case media.AC3, media.EAC3: // nothing is in it, but some readers learn of a track by it
		return TypeAudio, appendExtendedHeader(dst, t, audioExtended<<4, packetConfig, 0)
	case media.FLAC:
		const lastBlock = 0x80 // STREAMINFO, and no more metadata
		dst = appendExtendedHeader(dst, t, audioExtended<<4, packetConfig, 0)
		return TypeAudio, append(append(dst, 'f', 'L', 'a', 'C', lastBlock, 0, 0, byte(len(config))), config...)
	}
	if t.Codec.Kind() == media.Audio {
		return TypeAudio, append(appendExtendedHeader(dst, t, audioExtended<<4, packetConfig, 0), config...)
	}
	return TypeVideo, append(appendExtendedHeader(dst, t, videoExtended|frameKey<<4, packetConfig, 0), config...)
}

// appendExtendedHeader appends what stands before the composition offset; first is the first byte without the packet type.
func appendExtendedHeader(dst []byte, t media.Track, first, packet byte, nano time.Duration) []byte {
	number := TrackNumber(t)
	outer := packet
	if number > 0 {
		outer = packetAudioTracks
		if t.Codec.Kind() == media.Video {
			outer = packetVideoTracks
		}
	}
	if nano > 0 {
		dst = append(dst, first|packetModifier, 2, byte(nano>>16), byte(nano>>8), byte(nano), modifierNano<<4|outer)
	} else {
		dst = append(dst, first|outer)
	}
	if number == 0 {
		return append(dst, fourCCs[t.Codec]...)
	}
	dst = append(dst, oneTrack<<4|packet)
	return append(append(dst, fourCCs[t.Codec]...), byte(number))
}

// appendAVCHeader appends the first bytes of an AVC body.
func appendAVCHeader(dst []byte, f media.Frame) []byte {
	kind := byte(frameInter)
	if f.Key || f.Config {
		kind = frameKey
	}
	if f.Config {
		return append(dst, kind<<4|videoAVC, packetConfig, 0, 0, 0)
	}
	offset := compositionMillis(f)
	return append(dst, kind<<4|videoAVC, packetFrame, byte(offset>>16), byte(offset>>8), byte(offset))
}

// compositionMillis is the difference of the two times in whole milliseconds, so that rounding never adds up, as far as 24 bits can say it.
func compositionMillis(f media.Frame) int64 {
	const limit = 1<<23 - 1
	return min(max(floorMillis(f.PTS)-floorMillis(f.DTS), -limit-1), limit)
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
