package rtc

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/interceptor"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"hawser/media"
)

var mimes = map[media.Codec]string{media.H264: webrtc.MimeTypeH264, media.VP8: webrtc.MimeTypeVP8, media.VP9: webrtc.MimeTypeVP9, media.AV1: webrtc.MimeTypeAV1, media.Opus: webrtc.MimeTypeOpus}

// CodecOf returns the codec with a name, as a=rtpmap has it and in any case, if peers carry it.
func CodecOf(name string) (c media.Codec, ok bool) {
	for c, mime := range mimes {
		if _, known, _ := strings.Cut(mime, "/"); strings.EqualFold(name, known) {
			return c, true
		}
	}
	return c, false
}

// offered are the codecs that peers agree on, with the payload types of our own offers.
var offered = []struct {
	codec media.Codec
	fmtp  string
	pt    webrtc.PayloadType
}{
	{media.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", 96},
	{media.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f", 97},
	{media.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f", 98},
	{media.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f", 99},
	{media.VP8, "", 100},
	{media.VP9, "profile-id=0", 101},
	{media.AV1, "level-idx=5;profile=0;tier=0", 102},
	{media.Opus, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1", 111},
}

// videoFeedback is what viewers may say of video (RFC 4585, RFC 5104, draft-holmer-rmcat-transport-wide-cc-extensions).
var videoFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}, {Type: webrtc.TypeRTCPFBTransportCC}}

// newCodecs makes what is known of codecs to peers that send those codecs; none means that they receive, whatever is known. A peer that sends agrees on nothing else of that kind, so that an answer says what will
// come; a kind that is not sent is answered as inactive, not refused: the first section of a bundle must stand for other stacks to go on.
func newCodecs(send []media.Codec) (*codecs, error) {
	m := &webrtc.MediaEngine{}
	for _, c := range offered {
		if same := func(s media.Codec) bool { return s.Kind() == c.codec.Kind() }; slices.ContainsFunc(send, same) && !slices.Contains(send, c.codec) {
			continue
		}
		kind, capability := webrtc.RTPCodecTypeVideo, webrtc.RTPCodecCapability{MimeType: mimes[c.codec], ClockRate: 90000, SDPFmtpLine: c.fmtp, RTCPFeedback: videoFeedback}
		if c.codec == media.Opus {
			kind = webrtc.RTPCodecTypeAudio
			capability.ClockRate, capability.Channels, capability.RTCPFeedback = 48000, 2, []webrtc.RTCPFeedback{{Type: webrtc.TypeRTCPFBTransportCC}}
		}
		if err := m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: capability, PayloadType: c.pt}, kind); err != nil {
			return nil, err
		}
	}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		// Not that of the MID: with it the stack takes no stream whose SSRC no description has, unless it is one of simulcast; without it, payload types tell them apart.
		if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: sdp.TransportCCURI}, kind); err != nil {
			return nil, err
		}
	}
	var inter interceptor.Registry // what costs memory and time for each packet; senders do without
	if len(send) == 0 {
		for _, f := range []func(*webrtc.MediaEngine, *interceptor.Registry) error{
			webrtc.ConfigureNack,
			func(_ *webrtc.MediaEngine, r *interceptor.Registry) error { return webrtc.ConfigureRTCPReports(r) },
			webrtc.ConfigureTWCCSender,
		} {
			if err := f(m, &inter); err != nil {
				return nil, err
			}
		}
	}
	return &codecs{m, &inter}, nil
}

// codecs are what peers know that send one set of codecs, or that receive.
type codecs struct {
	engine       *webrtc.MediaEngine
	interceptors *interceptor.Registry
}

// codecs returns what peers that send those tracks know; there is one for each set of codecs.
func (e *Engine) codecs(send []media.Track) (*codecs, error) {
	var list []media.Codec
	for _, t := range send {
		if mimes[t.Codec] == "" {
			return nil, fmt.Errorf("%s is not carried by WebRTC", t.Codec)
		}
		list = append(list, t.Codec)
	}
	slices.Sort(list)
	key := fmt.Sprint(list)
	e.codecsMu.Lock()
	defer e.codecsMu.Unlock()
	if c := e.known[key]; c != nil {
		return c, nil
	}
	c, err := newCodecs(list)
	if err == nil {
		e.known[key] = c
	}
	return c, err
}

// connection makes the stack's part of a peer. keys, unless nil, see the handshake.
func (e *Engine) connection(send []media.Track, keys *handshakeKeys) (*webrtc.PeerConnection, error) {
	c, err := e.codecs(send)
	if err != nil {
		return nil, err
	}
	settings := e.settings
	if keys != nil {
		settings.SetDTLSKeyLogWriter(keys)
		settings.SetDTLSServerHelloMessageHook(keys.hello)
		if err := settings.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
			return nil, err
		}
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(c.engine), webrtc.WithInterceptorRegistry(c.interceptors), webrtc.WithSettingEngine(settings)).NewPeerConnection(e.config)
}

// choose returns what a track is sent as: of those that both sides know, the one with the track's own profile, else the first of its codec.
func choose(t media.Track, known []webrtc.RTPCodecParameters) (webrtc.RTPCodecParameters, error) {
	var chosen webrtc.RTPCodecParameters
	for _, c := range known {
		if !strings.EqualFold(c.MimeType, mimes[t.Codec]) {
			continue
		}
		if t.Codec == media.H264 && len(t.Config) > 2 && strings.Contains(strings.ToLower(c.SDPFmtpLine), "profile-level-id="+hex.EncodeToString(t.Config[1:2])) {
			return c, nil
		}
		if chosen.MimeType == "" {
			chosen = c
		}
	}
	if chosen.MimeType == "" {
		return chosen, fmt.Errorf("rtc: the other side does not take %s", t.Codec)
	}
	return chosen, nil
}
