package rtc

import (
	"net"
	"strconv"
	"strings"

	"hawser/lifecycle"
)

// MaxSections bounds the media sections of a description: each one costs the stack a transceiver.
const MaxSections = 16

// described is what must be known of a description before the stack may have it.
type described struct {
	ufrag      string
	candidates int  // of the first component: there is no other when RTCP shares its port
	ended      bool // it has all candidates
}

// readSDP looks at a description, which may come from anybody, and refuses what is too large.
func (o *Options) readSDP(text string) (d described, err error) {
	if len(text) > o.MaxSDP {
		lifecycle.CountReached("rtc.MaxSDP")
		return d, lifecycle.ReasonTooBig.With("got %d bytes, want at most %d (MaxSDP)", len(text), o.MaxSDP)
	}
	sections, all := 0, 0
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\r\n"); {
		case strings.HasPrefix(line, "m="):
			sections++
		case strings.HasPrefix(line, "a=candidate:"):
			all++
			if f := strings.Fields(line); len(f) > 1 && f[1] == "1" {
				d.candidates++
			}
		case line == "a=end-of-candidates":
			d.ended = true
		case strings.HasPrefix(line, "a=ice-ufrag:") && d.ufrag == "":
			d.ufrag = line[len("a=ice-ufrag:"):]
		}
	}
	if sections > MaxSections {
		return d, lifecycle.Reached("rtc.MaxSections", MaxSections).With("got %d media sections, want at most %d (MaxSections)", sections, MaxSections)
	}
	if all > o.MaxCandidates {
		return d, lifecycle.Reached("rtc.MaxCandidates", o.MaxCandidates).With("got %d candidates, want at most %d (MaxCandidates)", all, o.MaxCandidates)
	}
	return d, nil
}

// firstValue returns the value of the first attribute with the name, "" if there is none.
func firstValue(sdp, name string) string {
	for line := range strings.Lines(sdp) {
		if value, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a="+name+":"); ok {
			return value
		}
	}
	return ""
}

func joinHostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
