package fmp4

import (
	"encoding/binary"
	"math"

	"hawser/media"
)

// mpeg1Rate is the lowest sampling frequency of MPEG-1 audio; below it MP3 is of MPEG-2.
const mpeg1Rate = 32000

// Object types of an elementary stream (ISO 14496-1 section 7.2.6.6).
const (
	objectAAC      = 0x40
	objectMP3      = 0x6b
	objectMP3MPEG2 = 0x69
)

// appendSampleEntry appends what says how the samples are coded.
func appendSampleEntry(b []byte, t media.Track) []byte {
	whole := func(b []byte) []byte { return append(b, t.Config...) }
	switch t.Codec {
	case media.H264:
		return appendVisual(b, "avc1", t, func(b []byte) []byte { return appendBox(b, "avcC", whole) })
	case media.HEVC:
		return appendVisual(b, "hvc1", t, func(b []byte) []byte { return appendBox(b, "hvcC", whole) })
	case media.AV1:
		return appendVisual(b, "av01", t, func(b []byte) []byte { return appendBox(b, "av1C", whole) })
	case media.VP9:
		return appendVisual(b, "vp09", t, func(b []byte) []byte { return appendFull(b, "vpcC", 1, 0, whole) })
	case media.AAC:
		return appendSound(b, "mp4a", t, func(b []byte) []byte { return appendESDS(b, objectAAC, t.Config) })
	case media.MP3:
		object := byte(objectMP3)
		if t.SampleRate < mpeg1Rate {
			object = objectMP3MPEG2
		}
		return appendSound(b, "mp4a", t, func(b []byte) []byte { return appendESDS(b, object, nil) })
	case media.Opus:
		return appendSound(b, "Opus", t, func(b []byte) []byte {
			return appendBox(b, "dOps", func(b []byte) []byte { return appendOpus(b, t.Config) })
		})
	case media.FLAC:
		return appendSound(b, "fLaC", t, func(b []byte) []byte {
			return appendFull(b, "dfLa", 0, 0, func(b []byte) []byte {
				const lastBlock = 0x80 // STREAMINFO, and no more metadata
				return whole(append(b, lastBlock, 0, 0, byte(len(t.Config))))
			})
		})
	case media.AC3:
		return appendSound(b, "ac-3", t, func(b []byte) []byte { return appendBox(b, "dac3", whole) })
	case media.EAC3:
		return appendSound(b, "ec-3", t, func(b []byte) []byte { return appendBox(b, "dec3", whole) })
	}
	panic("fmp4: a codec that Supports names has no sample entry: " + t.Codec.String())
}

// appendVisual appends a VisualSampleEntry with its codec's parameters (ISO 14496-12 section 12.1.3).
func appendVisual(b []byte, entry string, t media.Track, config func([]byte) []byte) []byte {
	return appendBox(b, entry, func(b []byte) []byte {
		b = u16(b, 0, 0, 0, 1) // reserved, data reference
		b = u32(b, 0, 0, 0, 0)
		b = u16(b, t.Width, t.Height)
		b = u32(b, 0x480000, 0x480000, 0)          // 72 dpi
		b = append(u16(b, 1), make([]byte, 32)...) // frames in a sample; no compressor's name
		b = u16(b, 0x18, 0xffff)                   // depth
		return appendColor(config(b), t.Color)
	})
}

// appendColor appends the boxes of what is known of the colour (ISO 14496-12 section 12.1.5; colr, mdcv and clli).
func appendColor(b []byte, c media.Color) []byte {
	if c.Primaries > 0 && c.Transfer > 0 {
		b = appendBox(b, "colr", func(b []byte) []byte {
			return append(u16(append(b, "nclx"...), int(c.Primaries), int(c.Transfer), int(c.Matrix)), 0) // limited range
		})
	}
	if c.MaxLuminance > 0 {
		b = appendBox(b, "mdcv", func(b []byte) []byte {
			for _, v := range []float64{c.GreenX, c.GreenY, c.BlueX, c.BlueY, c.RedX, c.RedY, c.WhiteX, c.WhiteY} {
				b = u16(b, int(clamp(v*50000, math.MaxUint16)))
			}
			return u32(b, uint32(clamp(c.MaxLuminance*10000, math.MaxUint32)), uint32(clamp(c.MinLuminance*10000, math.MaxUint32)))
		})
	}
	if c.MaxCLL > 0 {
		b = appendBox(b, "clli", func(b []byte) []byte {
			return u16(b, int(clamp(c.MaxCLL, math.MaxUint16)), int(clamp(c.MaxFALL, math.MaxUint16)))
		})
	}
	return b
}

func clamp(v, limit float64) float64 { return min(max(math.Round(v), 0), limit) }

// appendSound appends an AudioSampleEntry (ISO 14496-12 section 12.2.3). Players take channels and rate from the codec's
// parameters where these say more.
func appendSound(b []byte, entry string, t media.Track, config func([]byte) []byte) []byte {
	channels, rate := t.Channels, uint32(t.SampleRate)
	if channels == 0 {
		channels = 2
	}
	if rate > 0xffff {
		rate = 0
	}
	return appendBox(b, entry, func(b []byte) []byte {
		b = u16(b, 0, 0, 0, 1, 0, 0, 0, 0) // reserved, data reference, reserved
		b = u16(b, channels, 16, 0, 0)
		return config(u32(b, rate<<16))
	})
}

// appendOpus appends an OpusSpecificBox's content (Opus in ISO base media section 4.3.2): an identification header with the bytes of its numbers the other way round.
// There is no edit list: a frame's time is that of its first sample, of those that are to be skipped too.
func appendOpus(b, head []byte) []byte {
	little := binary.LittleEndian
	b = append(b, 0, head[9]) // version, channels
	b = u16(b, int(little.Uint16(head[10:])))
	b = u32(b, little.Uint32(head[12:]))
	b = u16(b, int(little.Uint16(head[16:])))
	if b = append(b, head[18]); head[18] == 0 {
		return b
	}
	return append(b, head[19:19+2+int(head[9])]...)
}

// appendESDS appends the elementary stream descriptor of AAC or MP3 (ISO 14496-1 section 7.2.6.5, ISO 14496-14 section 5.6).
func appendESDS(b []byte, object byte, config []byte) []byte {
	const audioStream = 5<<2 | 1
	return appendFull(b, "esds", 0, 0, func(b []byte) []byte {
		decoder := u32([]byte{object, audioStream, 0, 0, 0}, 0, 0) // buffer size and bit rates are not known
		if len(config) > 0 {
			decoder = append(decoder, appendDescriptor(nil, 5, config)...)
		}
		stream := appendDescriptor([]byte{0, 0, 0}, 4, decoder)
		stream = appendDescriptor(stream, 6, []byte{2})
		return appendDescriptor(b, 3, stream)
	})
}

// appendDescriptor appends a descriptor with its length in four bytes of seven bits.
func appendDescriptor(b []byte, tag byte, body []byte) []byte {
	n := len(body)
	b = append(b, tag, byte(n>>21)|0x80, byte(n>>14)|0x80, byte(n>>7)|0x80, byte(n)&0x7f)
	return append(b, body...)
}
