package flv

import (
	"encoding/binary"
	"fmt"
	"strconv"

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

// Metadata gives the body of the script message that describes the tracks to players: onMetaData and its values (section E.5). Codecs that FLV itself has not are named by
// their FourCC as a number, and tracks of another TrackNumber than 0 stand in audioTrackIdInfoMap and videoTrackIdInfoMap (Enhanced RTMP v2, "Enhancing onMetaData").
func Metadata(tracks []media.Track) []byte {
	var info amf.ECMAArray
	var video, audio amf.Object // the maps
	for _, t := range tracks {
		values := trackInfo(t)
		number := amf.Member{Name: strconv.Itoa(TrackNumber(t)), Value: values}
		switch {
		case len(values) == 0:
		case TrackNumber(t) == 0:
			info = append(info, values...)
		case t.Kind == media.Video:
			video = append(video, number)
		default:
			audio = append(audio, number)
		}
	}
	if len(video) > 0 {
		info = append(info, amf.Member{Name: "videoTrackIdInfoMap", Value: video})
	}
	if len(audio) > 0 {
		info = append(info, amf.Member{Name: "audioTrackIdInfoMap", Value: audio})
	}
	return amf.Append(nil, "onMetaData", info)
}

// trackInfo describes one track; nothing where it is not carried.
func trackInfo(t media.Track) amf.Object {
	if !carried(t) {
		return nil
	}
	id := int(binary.BigEndian.Uint32([]byte(fourCCs[t.Codec])))
	switch {
	case TrackNumber(t) > 0:
	case t.Codec == media.H264:
		id = videoAVC
	case t.Codec == media.AAC:
		id = audioAAC
	case t.Codec == media.MP3:
		id = audioMP3
	}
	if t.Kind == media.Video {
		return amf.Object{{Name: "videocodecid", Value: id}, {Name: "width", Value: t.Width}, {Name: "height", Value: t.Height}}
	}
	if TrackNumber(t) > 0 {
		return amf.Object{{Name: "audiocodecid", Value: id}, {Name: "samplerate", Value: t.SampleRate}, {Name: "channels", Value: t.Channels}}
	}
	return amf.Object{{Name: "audiocodecid", Value: id}, {Name: "audiosamplerate", Value: t.SampleRate}, {Name: "audiochannels", Value: t.Channels},
		{Name: "audiosamplesize", Value: 16}, {Name: "stereo", Value: t.Channels == 2}}
}

// ParseMetadata reads the body of a script message of either type: onMetaData, with or without the @setDataFrame of RTMP publishers before
// it. ok is false for any other script message. An error is an *amf.SyntaxError.
func ParseMetadata(body []byte) (info Info, ok bool, err error) {
	values, err := amf.DecodeMessage(body)
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
