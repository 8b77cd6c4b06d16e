package websocket

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Parameter is a parameter of an extension as the handshake carries it. Value is empty if it has none.
type Parameter struct {
	Name, Value string
}

// Extension is an extension of the protocol that changes messages (RFC 6455 section 9). Deflate is the built-in one; others are given in the option Extensions. Its methods may run at once.
type Extension interface {
	// Name is the registered name, for example "permessage-deflate".
	Name() string
	// Offer returns what a client offers: the parameters of each alternative, the preferred one first.
	Offer() [][]Parameter
	// Accept is asked by a server about one alternative of a client's offer. A nil Codec declines it; then the next alternative is asked about.
	Accept(offer []Parameter) (answer []Parameter, codec Codec)
	// Confirm is asked by a client about the server's answer. An error fails the handshake.
	Confirm(answer []Parameter) (Codec, error)
}

// Codec is an extension at work on one connection. Encode may run at once with Decode and, unless the Codec is an OrderedCodec, with itself. Decode runs in one goroutine at a time.
type Codec interface {
	// Reserved is the bit in the first byte of a message that says that the codec has changed it: 0x40, 0x20 or 0x10.
	Reserved() byte
	// Encode appends the message as it is to be sent to dst. false means that this message goes as it is; what is appended then counts for nothing.
	Encode(dst []byte, typ MessageType, payload []byte) (out []byte, changed bool, err error)
	// Decode appends the original of a message that has the bit to dst. The payload's buffer is its own until it returns. It must not append more than limit bytes; 0 means no limit. A *Violation says which close code answers the error, others
	// are answered with CloseProtocolError.
	Decode(dst []byte, typ MessageType, payload []byte, limit int64) ([]byte, error)
}

// OrderedCodec is a Codec whose Encode depends on the messages before: it is called for one message at a time, in the order in which they are sent.
type OrderedCodec interface {
	Codec
	// Forget says that the message that was encoded last may not have been sent: the next one must not depend on it, nor on those before it.
	Forget()
}

const extensionHeader = "Sec-WebSocket-Extensions"

// extensionOffer is one element of the header: an offer or an answer.
type extensionOffer struct {
	name   string
	params []Parameter
}

// String returns the element as it stands in the header.
func (o extensionOffer) String() string {
	s := o.name
	for _, p := range o.params {
		s += "; " + p.Name
		if p.Value != "" {
			s += "=" + p.Value
		}
	}
	return s
}

// parseExtensions takes the header apart (RFC 6455 section 9.1).
func parseExtensions(h http.Header) ([]extensionOffer, error) {
	s := extensionScanner{rest: strings.Join(h.Values(extensionHeader), ",")}
	var list []extensionOffer
	for {
		for s.skip(',') {
		}
		if s.rest == "" {
			return list, nil
		}
		o := extensionOffer{name: s.token()}
		for s.skip(';') {
			p := Parameter{Name: s.token()}
			if s.skip('=') {
				p.Value = s.value()
			}
			o.params = append(o.params, p)
		}
		if s.bad || s.rest != "" && s.rest[0] != ',' {
			return nil, fmt.Errorf("%s is malformed before %q", extensionHeader, s.rest)
		}
		list = append(list, o)
	}
}

type extensionScanner struct {
	rest string
	bad  bool // something was missing
}

// skip steps over white space and, if it comes next, c with the white space behind it.
func (s *extensionScanner) skip(c byte) bool {
	s.rest = strings.TrimLeft(s.rest, " \t")
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = strings.TrimLeft(s.rest[1:], " \t")
	return true
}

func (s *extensionScanner) token() string {
	n := 0
	for n < len(s.rest) && isToken(s.rest[n:n+1]) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	s.bad = s.bad || n == 0
	return t
}

// value is a token, or a quoted string that holds one.
func (s *extensionScanner) value() string {
	if s.rest == "" || s.rest[0] != '"' {
		return s.token()
	}
	var v []byte
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			s.rest = s.rest[i+1:]
			s.bad = s.bad || !isToken(string(v))
			return string(v)
		case '\\':
			i++
		}
		if i < len(s.rest) {
			v = append(v, s.rest[i])
		}
	}
	s.bad = true
	return ""
}

// offerOf is what a client sends in the header.
func offerOf(list []Extension) string {
	var offers []string
	for _, e := range list {
		for _, params := range e.Offer() {
			offers = append(offers, extensionOffer{e.Name(), params}.String())
		}
	}
	return strings.Join(offers, ", ")
}

// accept chooses from what a client offers, of each extension the first alternative that it accepts.
func (a *agreement) accept(offers []extensionOffer, have []Extension) {
	var done, answers []string
	for _, o := range offers {
		i := slices.IndexFunc(have, func(e Extension) bool { return e.Name() == o.name })
		if i < 0 || slices.Contains(done, o.name) {
			continue
		}
		answer, codec := have[i].Accept(o.params)
		if a.add(codec) {
			done = append(done, o.name)
			answers = append(answers, extensionOffer{o.name, answer}.String())
		}
	}
	a.extensions = strings.Join(answers, ", ")
}

// confirm judges what a server has chosen.
func (a *agreement) confirm(answers []extensionOffer, offered []Extension) error {
	var done, list []string
	for _, o := range answers {
		i := slices.IndexFunc(offered, func(e Extension) bool { return e.Name() == o.name })
		if i < 0 || slices.Contains(done, o.name) {
			return fmt.Errorf("the server chose extensions %q, offered were %q, each once", answers, offerOf(offered))
		}
		codec, err := offered[i].Confirm(o.params)
		if err != nil {
			return fmt.Errorf("the server chose extension %q: %w", o, err)
		}
		if !a.add(codec) {
			return fmt.Errorf("the server chose extension %q, whose reserved bit is not free", o)
		}
		done = append(done, o.name)
		list = append(list, o.String())
	}
	a.extensions = strings.Join(list, ", ")
	return nil
}

// add takes a codec in, unless there is none or its bit is no reserved bit or is taken.
func (a *agreement) add(c Codec) bool {
	if c == nil {
		return false
	}
	bit := c.Reserved()
	if bit&^rsvBits != 0 || bit == 0 || a.rsv&bit != 0 {
		return false
	}
	a.rsv |= bit
	a.codecs = append(a.codecs, c)
	return true
}

// ordered says whether a codec wants its messages in order.
func (a *agreement) ordered() bool {
	return slices.ContainsFunc(a.codecs, func(c Codec) bool {
		_, ok := c.(OrderedCodec)
		return ok
	})
}

// encode appends a message as the codecs make it, in the order of the server's answer (RFC 6455 section 9.1), and returns the bits that say so; 0 means that it goes as it is.
func (a *agreement) encode(dst []byte, typ MessageType, payload []byte) (out []byte, rsv byte, err error) {
	start := len(dst)
	for i, c := range a.codecs {
		out, changed, err := c.Encode(dst[:start], typ, payload)
		if err != nil {
			return dst[:start], 0, fmt.Errorf("websocket: write: %w", err)
		}
		if !changed {
			continue
		}
		dst = out
		rsv |= c.Reserved()
		if payload = out[start:]; i < len(a.codecs)-1 {
			payload = slices.Clone(payload) // the next one writes where it stands
		}
	}
	if rsv != 0 {
		dst = append(dst[:start], payload...)
	}
	return dst, rsv, nil
}

// forget tells the codecs that a message may not have been sent.
func (a *agreement) forget() {
	for _, c := range a.codecs {
		if o, ok := c.(OrderedCodec); ok {
			o.Forget()
		}
	}
}

// decode appends the original of a message to dst.
func (a *agreement) decode(dst []byte, op, rsv byte, payload []byte, limit int64) ([]byte, error) {
	start, first := len(dst), true
	for _, c := range slices.Backward(a.codecs) {
		if c.Reserved()&rsv == 0 {
			continue
		}
		if !first {
			payload = slices.Clone(payload)
		}
		first = false
		out, err := c.Decode(dst[:start], MessageType(op), payload, limit)
		dst = out
		if err != nil {
			return dst, err
		}
		payload = out[start:]
	}
	return dst, nil
}
