// Package flv reads and writes FLV tags, and turns their bodies, which are RTMP's audio and video messages too, into
// frames and back (Adobe Flash Video File Format Specification 10.1, annex E; Enhanced RTMP v2-2026-01-31). It carries H264, AAC and MP3, and by Enhanced RTMP HEVC, AV1,
// VP9, VP8, Opus, FLAC, AC-3 and E-AC-3, and several tracks of a kind. It does not seek, and it does not know RTMP's chunks.
//
//	r, d := flv.NewReader(file), flv.Demuxer{}
//	for {
//		tag, err := r.Next()
//		if err == io.EOF {
//			return nil
//		} else if err != nil {
//			return err
//		}
//		frame, track, ok, err := d.Feed(tag.Type, tag.Timestamp, tag.Data)
//		// track: new codec parameters; frame: when ok; where a body may have several tracks see Feed
//	}
package flv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"hawser/media"
)

// The types of a tag, which are RTMP message types too.
const (
	TypeAudio  = 8
	TypeVideo  = 9
	TypeScript = 18 // AMF0 values, such as onMetaData
	// TypeScriptAMF3 is a byte 0 and AMF0 values that may switch to AMF3 (Enhanced RTMP v2, "Enabling AMF3 in FLV").
	TypeScriptAMF3 = 15
)

// MaxData is the greatest length of a tag's data in bytes: it is written in 24 bits.
const MaxData = 1<<24 - 1

// ErrUnsupported is wrapped by errors about codecs and features that exist but are not carried here.
var ErrUnsupported = errors.New("unsupported")

// SyntaxError says where bytes break the format.
type SyntaxError struct {
	What      string // what was read, such as "file" or "video"
	Offset    int64  // bytes from the start of the file, or of the body
	Got, Want string
}

// Error gives the offset, what was got and what was wanted.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("flv: %s at offset %d: got %s, want %s", e.What, e.Offset, e.Got, e.Want)
}

// Tag is one FLV tag.
type Tag struct {
	Type      byte   // TypeAudio, TypeVideo or TypeScript; others exist and may be skipped
	Timestamp uint32 // milliseconds
	Data      []byte // at most MaxData bytes
}

const (
	headerSize    = 9  // of a file
	tagHeaderSize = 11 // of a tag
	backSize      = 4  // of the back pointer behind each
)

// AppendHeader appends a file's header and the first back pointer (section E.2).
func AppendHeader(dst []byte, audio, video bool) []byte {
	var flags byte
	if audio {
		flags |= 4
	}
	if video {
		flags |= 1
	}
	return append(dst, 'F', 'L', 'V', 1, flags, 0, 0, 0, headerSize, 0, 0, 0, 0)
}

// AppendTag appends a tag and the back pointer behind it (section E.4.1). Data beyond MaxData bytes is a mistake in the
// program and panics.
func AppendTag(dst []byte, t Tag) []byte {
	dst = slices.Grow(dst, tagHeaderSize+len(t.Data)+backSize)
	dst = appendTagHeader(dst, t.Type, t.Timestamp, len(t.Data))
	dst = append(dst, t.Data...)
	return binary.BigEndian.AppendUint32(dst, uint32(tagHeaderSize+len(t.Data)))
}

// AppendFrameTag appends the tag for a frame: what AppendTag does with AppendFrame's body and the frame's decoding time, without
// the copy between. It appends nothing where AppendFrame does not.
func AppendFrameTag(dst []byte, t media.Track, f media.Frame) []byte {
	dst = slices.Grow(dst, tagHeaderSize+maxBodyHeader+len(f.Data)+backSize)
	start := len(dst)
	dst = appendTagHeader(dst, 0, uint32(f.DTS.Milliseconds()), 0)
	typ, dst := AppendFrame(dst, t, f)
	n := len(dst) - start - tagHeaderSize
	if n == 0 {
		return dst[:start]
	}
	dst[start] = typ
	putUint24(dst[start+1:], checkSize(n))
	return binary.BigEndian.AppendUint32(dst, uint32(tagHeaderSize+n))
}

func appendTagHeader(dst []byte, typ byte, ts uint32, size int) []byte {
	n := checkSize(size)
	return append(dst, typ, byte(n>>16), byte(n>>8), byte(n), byte(ts>>16), byte(ts>>8), byte(ts), byte(ts>>24), 0, 0, 0)
}

func checkSize(n int) uint32 {
	if n > MaxData {
		panic(fmt.Sprintf("flv: got a tag of %d bytes, want at most %d", n, MaxData))
	}
	return uint32(n)
}

func putUint24(b []byte, v uint32) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }
