package websocket

import (
	"errors"
	"fmt"
	"strconv"
)

const (
	// DefaultThreshold is the length of the shortest message that is compressed, in bytes.
	DefaultThreshold = 512
	// DefaultLevel is how hard a message is compressed: fast.
	DefaultLevel = 1

	minWindowBits = 8
	maxWindowBits = 15
	maxLevel      = 9
)

// The parameters of permessage-deflate (RFC 7692 section 7.1).
const (
	deflateName      = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverWindow     = "server_max_window_bits"
	clientWindow     = "client_max_window_bits"
)

// Deflate is the extension permessage-deflate (RFC 7692) with its settings; the zero value is good. Compressors and decompressors are borrowed for one message at a time, so that a connection
// holds none.
//
// By default each message is compressed by itself. With context takeover it may refer to those before, which makes small messages that resemble each other about a quarter smaller. The price is memory: up to 8 KiB
// for each connection to send with it, and up to 32 KiB to receive (less with a smaller window); and time: what is sent is prepared with those 8 KiB, some 20 microseconds a message. A Prepared message goes
// uncompressed to a connection that sends with takeover.
type Deflate struct {
	// Level is how hard messages are compressed, 1 (fast) to 9 (small); 0 means DefaultLevel. A message that is longer than a window of less than 15 bits is compressed as with level 5.
	Level int
	// Threshold is the length of the shortest message that is compressed, in bytes; 0 means DefaultThreshold, negative that all are. A message that would not become shorter goes
	// as it is; but with context takeover the first one is sent compressed whatever its size, and with a negative Threshold all are, so that later ones can refer to them: set it where short messages resemble each other.
	Threshold int
	// ServerTakeover lets the server's messages refer to those before, if the client agrees; ClientTakeover likewise the client's.
	ServerTakeover, ClientTakeover bool
	// ServerWindowBits bounds the window of what the server sends to so many bits, 8 to 15; 0 means 15. A client that sets it gets no compression from a server that cannot do so.
	ServerWindowBits int
	// ClientWindowBits likewise bounds the window of what the client sends. A server can ask that only of clients that offer it; of others it takes all windows.
	ClientWindowBits int
}

// validate says what is wrong with the settings.
func (d *Deflate) validate() error {
	if d == nil {
		return nil
	}
	var errs []error
	for _, o := range []struct {
		name            string
		value, min, max int
	}{{"Level", d.Level, 1, maxLevel}, {"ServerWindowBits", d.ServerWindowBits, minWindowBits, maxWindowBits}, {"ClientWindowBits", d.ClientWindowBits, minWindowBits, maxWindowBits}} {
		if o.value != 0 && (o.value < o.min || o.value > o.max) {
			errs = append(errs, fmt.Errorf("websocket: option Compression.%s is %d, want %d to %d or 0", o.name, o.value, o.min, o.max))
		}
	}
	return errors.Join(errs...)
}

// deflateParams are the parameters of an offer or an answer.
type deflateParams struct {
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             int // 0: not there; anyBits: without a value
}

const anyBits = -1

// parseDeflate reads the parameters of an offer, or of an answer, where client_max_window_bits must have a value (RFC 7692 section 7.1.2.2).
func parseDeflate(list []Parameter, answer bool) (p deflateParams, err error) {
	seen := map[string]bool{}
	for _, param := range list {
		ok := !seen[param.Name]
		seen[param.Name] = true
		switch param.Name {
		case serverNoTakeover:
			p.serverNoTakeover = true
			ok = ok && param.Value == ""
		case clientNoTakeover:
			p.clientNoTakeover = true
			ok = ok && param.Value == ""
		case serverWindow:
			p.serverBits = parseBits(param.Value)
			ok = ok && p.serverBits != 0
		case clientWindow:
			if p.clientBits = parseBits(param.Value); param.Value == "" && !answer {
				p.clientBits = anyBits
			}
			ok = ok && p.clientBits != 0
		default:
			ok = false
		}
		if !ok {
			return p, fmt.Errorf("parameter %q is unknown, doubled or has a wrong value (RFC 7692 section 7.1)", extensionOffer{name: param.Name + "=" + param.Value})
		}
	}
	return p, nil
}

// parseBits reads a window's size; 0 means that it is none.
func parseBits(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < minWindowBits || n > maxWindowBits || strconv.Itoa(n) != s {
		return 0
	}
	return n
}

// params writes them as they stand in the header.
func (p deflateParams) params() []Parameter {
	var list []Parameter
	if p.serverNoTakeover {
		list = append(list, Parameter{Name: serverNoTakeover})
	}
	if p.clientNoTakeover {
		list = append(list, Parameter{Name: clientNoTakeover})
	}
	if p.serverBits != 0 {
		list = append(list, Parameter{serverWindow, strconv.Itoa(p.serverBits)})
	}
	switch {
	case p.clientBits == anyBits:
		list = append(list, Parameter{Name: clientWindow})
	case p.clientBits != 0:
		list = append(list, Parameter{clientWindow, strconv.Itoa(p.clientBits)})
	}
	return list
}

// bits is the size of a window that may be left open.
func bitsOr15(n int) int {
	if n <= 0 {
		return maxWindowBits
	}
	return n
}

// Name implements Extension.
func (d *Deflate) Name() string { return deflateName }

// Offer implements Extension.
func (d *Deflate) Offer() [][]Parameter { return [][]Parameter{d.offer().params()} }

func (d *Deflate) offer() deflateParams {
	p := deflateParams{serverNoTakeover: !d.ServerTakeover, clientNoTakeover: !d.ClientTakeover, clientBits: anyBits}
	if bitsOr15(d.ServerWindowBits) < maxWindowBits {
		p.serverBits = d.ServerWindowBits
	}
	if bitsOr15(d.ClientWindowBits) < maxWindowBits {
		p.clientBits = d.ClientWindowBits
	}
	return p
}

// Accept implements Extension. It declines offers with parameters that are unknown, doubled or wrong.
func (d *Deflate) Accept(list []Parameter) ([]Parameter, Codec) {
	offer, err := parseDeflate(list, false)
	if err != nil {
		return nil, nil
	}
	answer := deflateParams{serverNoTakeover: offer.serverNoTakeover || !d.ServerTakeover, clientNoTakeover: offer.clientNoTakeover || !d.ClientTakeover}
	if bits := min(bitsOr15(offer.serverBits), bitsOr15(d.ServerWindowBits)); offer.serverBits != 0 || bits < maxWindowBits {
		answer.serverBits = bits
	}
	if bits := min(bitsOr15(offer.clientBits), bitsOr15(d.ClientWindowBits)); offer.clientBits > 0 || offer.clientBits == anyBits && bits < maxWindowBits {
		answer.clientBits = bits
	}
	return answer.params(), d.codec(answer, true)
}

// Confirm implements Extension.
func (d *Deflate) Confirm(list []Parameter) (Codec, error) {
	answer, err := parseDeflate(list, true)
	if err != nil {
		return nil, err
	}
	offer := d.offer()
	switch {
	case offer.serverNoTakeover && !answer.serverNoTakeover:
		return nil, errors.New("it lacks " + serverNoTakeover + ", which was asked for (RFC 7692 section 7.1.1.1)")
	case bitsOr15(answer.serverBits) > bitsOr15(offer.serverBits):
		return nil, fmt.Errorf("want %s=%d or less (RFC 7692 section 7.1.2.1)", serverWindow, offer.serverBits)
	case answer.clientBits > bitsOr15(offer.clientBits):
		return nil, fmt.Errorf("want %s=%d or less (RFC 7692 section 7.1.2.2)", clientWindow, offer.clientBits)
	}
	answer.clientNoTakeover = answer.clientNoTakeover || offer.clientNoTakeover
	if answer.clientBits == 0 {
		answer.clientBits = max(offer.clientBits, 0)
	}
	return d.codec(answer, false), nil
}

// codec is what was agreed on at work, on the given side.
func (d *Deflate) codec(p deflateParams, server bool) Codec {
	sendBits, takeBits, forgetful, plain := bitsOr15(p.serverBits), bitsOr15(p.clientBits), p.serverNoTakeover, p.clientNoTakeover
	if !server {
		sendBits, takeBits, forgetful, plain = takeBits, sendBits, plain, forgetful
	}
	c := deflateCodec{level: d.Level, threshold: d.Threshold, bits: sendBits}
	if c.level == 0 {
		c.level = DefaultLevel
	}
	if c.threshold == 0 {
		c.threshold = DefaultThreshold
	}
	if !plain {
		c.keeps = 1 << takeBits
	}
	if forgetful {
		return &c
	}
	return &takeoverCodec{deflateCodec: c}
}
