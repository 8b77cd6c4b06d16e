package server

import (
	"context"
	"strings"

	"hawser/lifecycle"
)

// fragment is what a client says of its ICE in a body of type application/trickle-ice-sdpfrag (RFC 8840 section 9).
type fragment struct {
	ufrag, pwd string
	candidates []string // "candidate:…"; "" after the last
}

func readFragment(body string) (f fragment, err error) {
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "a=ice-ufrag":
			f.ufrag = value
		case "a=ice-pwd":
			f.pwd = value
		case "a=candidate":
			f.candidates = append(f.candidates, line[len("a="):])
		case "a=end-of-candidates":
			f.candidates = append(f.candidates, "")
		default:
			if len(line) < 2 || line[1] != '=' {
				return f, lifecycle.ReasonBadRequest.With("fragment: got line %.100q, want lines of SDP", line)
			}
		}
	}
	if (f.ufrag == "") != (f.pwd == "") || f.ufrag == "" && len(f.candidates) == 0 {
		return f, lifecycle.ReasonBadRequest.With("fragment: want ice-ufrag and ice-pwd, or candidates")
	}
	return f, nil
}

// attribute returns the first value of an attribute of a description, "" if there is none.
func attribute(sdp, name string) string {
	for line := range strings.Lines(sdp) {
		if value, ok := strings.CutPrefix(line, "a="+name+":"); ok {
			return strings.TrimRight(value, "\r\n")
		}
	}
	return ""
}

// etag names the present ICE session of a peer.
func (p *rtcPeer) etag() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return `"` + attribute(p.answer, "ice-ufrag") + `"`
}

// restartedBy says whether a fragment has other credentials than the offer.
func (p *rtcPeer) restartedBy(f fragment) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.ufrag != "" && f.ufrag != attribute(p.offer, "ice-ufrag")
}

// restart restarts ICE with the credentials and candidates of a fragment, and returns the server's. What else the offer said still holds.
func (p *rtcPeer) restart(ctx context.Context, f fragment) (string, error) {
	p.mu.Lock()
	before := p.offer
	p.mu.Unlock()
	var offer strings.Builder
	for line := range strings.Lines(before) {
		switch {
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + f.ufrag + "\r\n"
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + f.pwd + "\r\n"
		case strings.HasPrefix(line, "a=candidate:"), strings.HasPrefix(line, "a=end-of-candidates"):
			continue
		}
		offer.WriteString(line)
	}
	answer, err := p.answerTo(ctx, offer.String())
	if err != nil {
		return "", err
	}
	for _, c := range f.candidates {
		if err := p.peer.AddCandidate(c); err != nil {
			return "", badRequest(err)
		}
	}
	return iceOf(answer), nil
}

// iceOf is what a description says of ICE, as a fragment: of the first of its media, which carries all of them.
func iceOf(sdp string) string {
	var b strings.Builder
	media, seen := 0, make(map[string]bool)
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "m=") {
			media++
		}
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "a=ice-lite", "a=ice-options", "a=group", "a=ice-ufrag", "a=ice-pwd", "a=candidate", "a=end-of-candidates", "a=mid":
		default:
			if !strings.HasPrefix(line, "m=") {
				continue
			}
		}
		if media <= 1 && !seen[line] {
			seen[line] = true
			b.WriteString(line + "\r\n")
		}
	}
	return b.String()
}
