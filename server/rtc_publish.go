package server

import (
	"slices"
	"strings"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
	"hawser/stream"
)

// publishes makes the peer a publisher.
func (p *rtcPeer) publishes(o *rtc.PeerOptions) error {
	without, err := takesOf(p.rtcAsk.offer)
	if err != nil {
		return err
	}
	if without != "" {
		p.life.Event(lifecycle.Event{Kind: KindWithout, Reason: lifecycle.ReasonUnsupported.With("%s", without)})
	}
	pub, err := p.server.streams.Claim(p.path, stream.Claim{By: p.life.ID(), Replaced: p.close, Unpublished: p.unpublished, WantKeyframe: p.wantKeyframe})
	if err != nil {
		return err
	}
	p.pub = pub
	var present [2]*media.Track
	var key time.Duration // of the newest keyframe
	o.OnFrame = func(t *media.Track, f media.Frame) {
		err := error(nil)
		if at := &present[min(int(t.Kind-media.Video), 1)]; *at != t {
			*at = t
			err = pub.SetTrack(*t)
		}
		if err == nil {
			err = pub.Write(f)
		}
		if err != nil {
			p.close(lifecycle.ReasonOf(err))
		}
		switch {
		case f.Kind == media.Video && f.Key:
			key = f.DTS
		case f.Kind == media.Video && f.DTS-key >= keyframeInterval:
			p.wantKeyframe()
		}
	}
	return nil
}

// keyframeInterval is after how much time without a keyframe a client that publishes is asked for one. Browsers make none on their own, and viewers of other protocols cannot ask.
const keyframeInterval = 4 * time.Second

// keyframePause is how soon after a request for a keyframe another one is made: many viewers who want one want the same.
const keyframePause = 500 * time.Millisecond

// wantKeyframe asks the client that publishes for a keyframe.
func (p *rtcPeer) wantKeyframe() {
	now := time.Now()
	p.mu.Lock()
	peer := p.peer
	if now.Sub(p.wanted) < keyframePause {
		peer = nil
	} else {
		p.wanted = now
	}
	p.mu.Unlock()
	if peer != nil {
		peer.RequestKeyframe()
	}
}

// takesOf says what of an offer to publish is left out, or why nothing is taken: there must be something, and pictures that are offered must be of a codec that is known.
func takesOf(sdp string) (without string, err error) {
	known, strange := map[media.Kind]bool{}, map[media.Kind][]string{}
	for _, section := range rtc.Sections(sdp) {
		kind, ok := sectionKind(section)
		switch {
		case !ok || !section.Sends:
		case slices.ContainsFunc(section.Codecs, func(name string) bool { _, ok := rtc.CodecOf(name); return ok }):
			known[kind] = true
		default:
			strange[kind] = section.Codecs
		}
	}
	for _, kind := range []media.Kind{media.Video, media.Audio} {
		codecs, odd := strange[kind]
		if !odd || known[kind] {
			continue
		}
		why := lifecycle.ReasonUnsupported.With("%s: none of the codecs is taken that are offered: %s", kind, shortened(strings.Join(codecs, ", ")))
		if kind == media.Video || !known[media.Video] {
			return "", why
		}
		without = why.Text
	}
	if len(known) == 0 {
		return "", lifecycle.ReasonUnsupported.With("the offer sends neither video nor audio")
	}
	return without, nil
}
