package rtc

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"hawser/media"
)

var mimes = map[media.Codec]string{media.H264: webrtc.MimeTypeH264, media.VP8: webrtc.MimeTypeVP8, media.VP9: webrtc.MimeTypeVP9, media.AV1: webrtc.MimeTypeAV1, media.Opus: webrtc.MimeTypeOpus}

// outTrack is a track that is sent. It implements webrtc.TrackLocal.
type outTrack struct {
	peer  *Peer
	track media.Track

	mu     sync.Mutex
	writer webrtc.TrackLocalWriter // nil while not bound
	header rtp.Header
}

func newOutTrack(p *Peer, t media.Track) *outTrack { return &outTrack{peer: p, track: t} }

// Bind implements webrtc.TrackLocal.
func (t *outTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, codec := range c.CodecParameters() {
		if strings.EqualFold(codec.MimeType, mimes[t.track.Codec]) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.writer = c.WriteStream()
			t.header = rtp.Header{Version: 2, PayloadType: uint8(codec.PayloadType), SSRC: uint32(c.SSRC())}
			return codec, nil
		}
	}
	return webrtc.RTPCodecParameters{}, fmt.Errorf("rtc: the other side does not take %s", t.track.Codec)
}

// Unbind implements webrtc.TrackLocal.
func (t *outTrack) Unbind(webrtc.TrackLocalContext) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writer = nil
	return nil
}

// ID implements webrtc.TrackLocal.
func (t *outTrack) ID() string { return t.track.Kind.String() }

// RID implements webrtc.TrackLocal.
func (t *outTrack) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (t *outTrack) StreamID() string { return "hawser" }

// Kind implements webrtc.TrackLocal.
func (t *outTrack) Kind() webrtc.RTPCodecType {
	if t.track.Kind == media.Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// write sends a group if it is of this track.
func (t *outTrack) write(group []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writer == nil || (group[0] == 1) != (t.track.Kind == media.Audio) {
		return
	}
	t.header.Timestamp = binary.BigEndian.Uint32(group[2:])
	left, b := int(binary.BigEndian.Uint16(group[6:])), group[8:]
	for ; left > 0; left-- {
		n := int(binary.BigEndian.Uint16(b))
		t.header.SequenceNumber++
		t.header.Marker = left == 1 && t.track.Kind == media.Video
		t.writer.WriteRTP(&t.header, b[2:2+n])
		b = b[2+n:]
	}
}
