package rtc

import (
	"slices"
	"strings"

	"hawser/lifecycle"
)

// Section is a media section of a description (RFC 8866 section 5.14).
type Section struct {
	// Kind is "video", "audio", "application" or what else the description says.
	Kind string
	// Protocol is for example "UDP/TLS/RTP/SAVPF".
	Protocol string
	// Mid is the section's name.
	Mid string
	// Live says that it is not refused: its port is not 0, or it is only to go over the transport of another section (RFC 9143 section 6).
	Live bool
	// Sends and Receives are what the side whose description it is would do.
	Sends, Receives bool
	// Codecs are the names of a=rtpmap, in upper case, with what repairs and repeats (RTX, RED, ULPFEC).
	Codecs []string

	mux       bool // a=rtcp-mux
	stream    bool // a=msid: it has something to send
	setup     string
	direction string // its own, "" where there is none
}

// Sections returns the media sections of a description, which may come from anybody. What makes no sense is passed over.
func Sections(sdp string) (list []Section) {
	session := Section{direction: "sendrecv"}
	at := &session
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		if f := strings.Fields(strings.TrimPrefix(line, "m=")); strings.HasPrefix(line, "m=") && len(f) > 2 {
			list = append(list, Section{Kind: f[0], Live: f[1] != "0", Protocol: f[2], setup: session.setup})
			at = &list[len(list)-1]
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		switch name {
		case "mid":
			at.Mid = value
		case "bundle-only":
			at.Live = true
		case "msid":
			at.stream = true
		case "rtcp-mux":
			at.mux = true
		case "setup":
			at.setup = value
		case "sendrecv", "sendonly", "recvonly", "inactive":
			at.direction = name
		case "rtpmap":
			if _, codec, ok := strings.Cut(value, " "); ok {
				codec, _, _ = strings.Cut(codec, "/")
				at.Codecs = append(at.Codecs, strings.ToUpper(codec))
			}
		}
	}
	for i := range list {
		s := &list[i]
		if s.direction == "" {
			s.direction = session.direction
		}
		s.Sends = s.Live && (s.direction == "sendrecv" || s.direction == "sendonly")
		s.Receives = s.Live && (s.direction == "sendrecv" || s.direction == "recvonly")
	}
	return list
}

// checkOffer says what an offer asks for that peers do not do: there is one transport for everything (RFC 9143), for RTCP too (RFC 5761), and it is secure. Such an offer could be answered, and nothing would ever
// come of it.
func (p *Peer) checkOffer(sdp string) error {
	refuse := lifecycle.ReasonUnsupported.With
	sections := Sections(sdp)
	var live []Section
	for i, s := range sections {
		if s.Mid != "" && slices.ContainsFunc(sections[:i], func(o Section) bool { return o.Mid == s.Mid }) {
			return lifecycle.ReasonBadRequest.With("two sections have the mid %.20q", s.Mid)
		}
		if s.Live {
			live = append(live, s)
		}
	}
	var bundled []string
	if group := firstValue(sdp, "group"); strings.HasPrefix(group, "BUNDLE") {
		bundled = strings.Fields(group)[1:]
	}
	media := false // a section of media in the bundle was seen
	for _, s := range live {
		if !slices.Contains(bundled, s.Mid) {
			continue // it is refused in the answer
		}
		rtp := s.Kind == "video" || s.Kind == "audio"
		switch {
		case rtp && !strings.HasSuffix(s.Protocol, "RTP/SAVPF"):
			return refuse("%s over %.30q: want UDP/TLS/RTP/SAVPF", s.Kind, s.Protocol)
		case rtp && !media && !s.mux:
			return refuse("%s without rtcp-mux", s.Kind)
		case s.setup == "holdconn", s.setup == "passive" && p.keys != nil:
			return refuse("a=setup:%s: want actpass", s.setup)
		}
		media = media || rtp
	}
	if len(live) > 0 && !slices.ContainsFunc(live, func(s Section) bool { return slices.Contains(bundled, s.Mid) }) {
		return refuse("there is no BUNDLE of the media sections")
	}
	return nil
}

// withoutSimulcast returns an offer without what says that several encodings of one picture could be sent (RFC 8853 section 5.1): answered like this, one is.
func withoutSimulcast(offer string) string {
	if !strings.Contains(offer, "a=simulcast:") {
		return offer
	}
	var b strings.Builder
	for line := range strings.Lines(offer) {
		if !strings.HasPrefix(line, "a=simulcast:") && !strings.HasPrefix(line, "a=rid:") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// withDirections returns an answer that says of each section what will come of it: the stack would send where it has nothing to send, and receive what nobody takes. A section without either stands nevertheless: it may
// be the first of the bundle, whose transport is that of all.
func withDirections(answer string, receives bool) string {
	sections := Sections(answer)
	var b strings.Builder
	n := -1
	for line := range strings.Lines(answer) {
		if strings.HasPrefix(line, "m=") {
			n++
		}
		if word := strings.TrimRight(strings.TrimPrefix(line, "a="), "\r\n"); n >= 0 && n < len(sections) && sections[n].direction == word && (sections[n].Kind == "video" || sections[n].Kind == "audio") {
			s := &sections[n]
			line = "a=" + direction(s.Sends && s.stream, s.Receives && receives) + "\r\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func direction(sends, receives bool) string {
	switch {
	case sends && receives:
		return "sendrecv"
	case sends:
		return "sendonly"
	case receives:
		return "recvonly"
	}
	return "inactive"
}
