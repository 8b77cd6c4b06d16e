package fmp4

import (
	"encoding/binary"

	"hawser/media"
)

// appendBox appends a box: its header, what body appends, and its size.
func appendBox(dst []byte, typ string, body func([]byte) []byte) []byte {
	start := len(dst)
	dst = body(append(append(dst, 0, 0, 0, 0), typ...))
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// appendFull appends a box that begins with a version and flags.
func appendFull(dst []byte, typ string, version byte, flags uint32, body func([]byte) []byte) []byte {
	return appendBox(dst, typ, func(b []byte) []byte { return body(u32(b, uint32(version)<<24|flags)) })
}

func u16(b []byte, values ...int) []byte {
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, uint16(v))
	}
	return b
}

func u32(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// unity is a matrix that changes nothing.
var unity = []uint32{0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000}

// appendInit appends ftyp and moov.
func appendInit(dst []byte, tracks []media.Track) []byte {
	dst = appendBox(dst, "ftyp", func(b []byte) []byte {
		return append(u32(append(b, "iso6"...), 0), "iso6cmfcmp41"...)
	})
	return appendBox(dst, "moov", func(b []byte) []byte {
		b = appendFull(b, "mvhd", 0, 0, func(b []byte) []byte {
			b = u32(b, 0, 0, 1000, 0)                   // created, modified, timescale, duration
			b = u32(b, 0x10000, 0x01000000, 0, 0)       // rate, volume
			b = u32(u32(b, unity...), 0, 0, 0, 0, 0, 0) // matrix
			return u32(b, nextTrackID(tracks))
		})
		for _, t := range tracks {
			b = appendTrak(b, t)
		}
		return appendBox(b, "mvex", func(b []byte) []byte {
			for _, t := range tracks {
				b = appendFull(b, "trex", 0, 0, func(b []byte) []byte {
					return u32(b, uint32(t.ID), 1, 0, 0, 0) // sample description; duration, size and flags are in each fragment
				})
			}
			return b
		})
	})
}

func nextTrackID(tracks []media.Track) uint32 {
	next := 1
	for _, t := range tracks {
		next = max(next, t.ID+1)
	}
	return uint32(next)
}

// appendTrak appends one track (ISO 14496-12 section 8.3).
func appendTrak(dst []byte, t media.Track) []byte {
	volume := 0x100
	if t.Kind == media.Video {
		volume = 0
	}
	return appendBox(dst, "trak", func(b []byte) []byte {
		b = appendFull(b, "tkhd", 0, 3, func(b []byte) []byte { // enabled, in movie
			b = u32(b, 0, 0, uint32(t.ID), 0, 0, 0, 0)
			b = u32(u16(b, 0, 0, volume, 0), unity...)
			return u32(b, uint32(t.Width)<<16, uint32(t.Height)<<16)
		})
		return appendBox(b, "mdia", func(b []byte) []byte {
			b = appendFull(b, "mdhd", 0, 0, func(b []byte) []byte {
				return u16(u32(b, 0, 0, uint32(newTrack(t).timescale), 0), 0x55c4, 0) // language: und
			})
			handler, header := "soun", "smhd"
			if t.Kind == media.Video {
				handler, header = "vide", "vmhd"
			}
			b = appendFull(b, "hdlr", 0, 0, func(b []byte) []byte {
				return append(u32(append(u32(b, 0), handler...), 0, 0, 0), 0)
			})
			return appendBox(b, "minf", func(b []byte) []byte { return appendMinf(b, header, t) })
		})
	})
}

// appendMinf appends a track's media information: the samples are all in fragments.
func appendMinf(b []byte, header string, t media.Track) []byte {
	if header == "vmhd" {
		b = appendFull(b, header, 0, 1, func(b []byte) []byte { return u16(b, 0, 0, 0, 0) })
	} else {
		b = appendFull(b, header, 0, 0, func(b []byte) []byte { return u32(b, 0) })
	}
	b = appendBox(b, "dinf", func(b []byte) []byte {
		return appendFull(b, "dref", 0, 0, func(b []byte) []byte {
			return appendFull(u32(b, 1), "url ", 0, 1, func(b []byte) []byte { return b }) // in this file
		})
	})
	return appendBox(b, "stbl", func(b []byte) []byte {
		b = appendFull(b, "stsd", 0, 0, func(b []byte) []byte { return appendSampleEntry(u32(b, 1), t) })
		none := func(b []byte) []byte { return u32(b, 0) }
		b = appendFull(b, "stts", 0, 0, none)
		b = appendFull(b, "stsc", 0, 0, none)
		b = appendFull(b, "stsz", 0, 0, func(b []byte) []byte { return u32(b, 0, 0) })
		return appendFull(b, "stco", 0, 0, none)
	})
}
