package rtc

import (
	"context"
	"fmt"
	"strings"

	"hawser/lifecycle"
)

// Patch takes a fragment of a description, as PATCH of WHIP and WHEP carries it (RFC 8840, RFC 9725 section 4.3): candidates of the other side, and "" comes back; or new credentials with candidates,
// which restarts ICE, and a fragment comes back that answers it.
func (p *Peer) Patch(ctx context.Context, fragment string) (answer string, err error) {
	d, err := p.engine.opts.readSDP(fragment)
	if err != nil {
		return "", fmt.Errorf("rtc: fragment: %w", err)
	}
	p.negotiating.Lock()
	defer p.negotiating.Unlock()
	remote := p.pc.CurrentRemoteDescription()
	if remote == nil {
		return "", fmt.Errorf("rtc: fragment: %w", lifecycle.ReasonBadRequest.With("there is no description before it"))
	}
	if d.ufrag != "" && d.ufrag != firstValue(remote.SDP, "ice-ufrag") {
		if firstValue(fragment, "ice-pwd") == "" {
			return "", fmt.Errorf("rtc: fragment: %w", lifecycle.ReasonBadRequest.With("it has an ice-ufrag without an ice-pwd"))
		}
		answer, err := p.answer(ctx, withFragment(remote.SDP, fragment))
		return fragmentOf(answer), err
	}
	for line := range strings.Lines(fragment) {
		candidate, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a=candidate:")
		if !ok {
			continue
		}
		if err := p.AddCandidate("candidate:" + candidate); err != nil {
			return "", err
		}
	}
	if d.ended {
		return "", p.AddCandidate("")
	}
	return "", nil
}

// fragmentOf returns the part of a description that a restart needs: credentials, and the candidates of the first section, which stands for all (RFC 9725 section 4.3.3).
func fragmentOf(sdp string) string {
	if sdp == "" {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", firstValue(sdp, "ice-ufrag"), firstValue(sdp, "ice-pwd"))
	sections := 0
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "m=") {
			sections++
		}
		if sections == 1 && (strings.HasPrefix(line, "m=") || strings.HasPrefix(line, "a=mid:") || strings.HasPrefix(line, "a=candidate:") || line == "a=end-of-candidates") {
			b.WriteString(line + "\r\n")
		}
	}
	return b.String()
}

// candidatesFragment returns a fragment with candidates for a description's first section; "" among them is the end of candidates.
func candidatesFragment(sdp string, candidates []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", firstValue(sdp, "ice-ufrag"), firstValue(sdp, "ice-pwd"))
	for line := range strings.Lines(sdp) {
		if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, "m=") {
			b.WriteString(line + "\r\n")
			break
		}
	}
	fmt.Fprintf(&b, "a=mid:%s\r\n", firstValue(sdp, "mid"))
	for _, c := range candidates {
		if c == "" {
			b.WriteString("a=end-of-candidates\r\n")
		} else {
			b.WriteString("a=" + c + "\r\n")
		}
	}
	return b.String()
}

// withFragment returns a description with the credentials and candidates of a fragment in place of its own.
func withFragment(sdp, fragment string) string {
	var b, candidates strings.Builder
	for line := range strings.Lines(fragment) {
		if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, "a=candidate:") || line == "a=end-of-candidates" {
			candidates.WriteString(line + "\r\n")
		}
	}
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "a=candidate:"), line == "a=end-of-candidates":
			continue
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + firstValue(fragment, "ice-ufrag")
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + firstValue(fragment, "ice-pwd")
		}
		b.WriteString(line + "\r\n")
		if strings.HasPrefix(line, "a=mid:") { // the first
			b.WriteString(candidates.String())
			candidates.Reset()
		}
	}
	return b.String()
}
