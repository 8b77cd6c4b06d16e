package flv

import (
	"fmt"

	"hawser/amf"
	"hawser/media"
)

// Info is what a publisher's onMetaData says of the stream. Publishers leave out and get wrong what they like: use it as a
// hint of what will come, never in place of codec parameters.
type Info struct {
	Video, Audio  bool // a codec is named
	Width, Height int
	FrameRate     float64    // frames a second
	Encoder       string     // the publishing program
	Values        amf.Object // all that was said
}

// Metadata gives the body of the script message that describes the tracks to players: onMetaData and its values (section E.5).
func Metadata(tracks []media.Track) []byte {
	info := amf.ECMAArray{}
	add := func(name string, v amf.Value) { info = append(info, amf.Member{Name: name, Value: v}) }
	for _, t := range tracks {
		switch {
		case t.Codec == media.H264:
			add("videocodecid", videoAVC)
		case t.Codec == media.AAC:
			add("audiocodecid", audioAAC)
		case t.Codec == media.MP3:
			add("audiocodecid", audioMP3)
		default:
			continue
		}
		if t.Kind == media.Video {
			add("width", t.Width)
			add("height", t.Height)
			continue
		}
		add("audiosamplerate", t.SampleRate)
		add("audiochannels", t.Channels)
		add("audiosamplesize", 16)
		add("stereo", t.Channels == 2)
	}
	return amf.Append(nil, "onMetaData", info)
}

// ParseMetadata reads the body of a script message: onMetaData, with or without the @setDataFrame of RTMP publishers before
// it. ok is false for any other script message. An error is an *amf.SyntaxError.
func ParseMetadata(body []byte) (info Info, ok bool, err error) {
	values, err := amf.Decode(body)
	if len(values) > 0 && values[0] == "@setDataFrame" {
		values = values[1:]
	}
	if len(values) == 0 || values[0] != "onMetaData" {
		return Info{}, false, err
	}
	if err != nil {
		return Info{}, false, fmt.Errorf("flv: onMetaData: %w", err)
	}
	if len(values) > 1 {
		o := amf.Members(values[1])
		info = Info{Values: o, Video: o.Get("videocodecid") != nil, Audio: o.Get("audiocodecid") != nil,
			Width: whole(o.Number("width")), Height: whole(o.Number("height")), FrameRate: o.Number("framerate"), Encoder: o.String("encoder")}
	}
	return info, true, nil
}

// whole gives a number of pixels, 0 for what cannot be one.
func whole(v float64) int {
	if v >= 1 && v <= media.MaxSide {
		return int(v)
	}
	return 0
}
