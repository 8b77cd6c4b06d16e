package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strings"
)

const (
	// version is the protocol version of RFC 6455.
	version = "13"
	// keyGUID is joined to the client's key to make the server's answer (RFC 6455 section 1.3).
	keyGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	keySize = 16
)

// acceptKey is the server's answer to a client's key (RFC 6455 section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + keyGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// validKey says whether a client's key is 16 bytes in base64.
func validKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == keySize
}

// listed returns the elements of a comma-separated header, however many lines it has.
func listed(h http.Header, name string) []string {
	var list []string
	for _, line := range h.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.Trim(item, " \t"); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// hasToken says whether a comma-separated header has the token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, item := range listed(h, name) {
		if strings.EqualFold(item, token) {
			return true
		}
	}
	return false
}

// isToken says whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// agreement is what the handshake has settled.
type agreement struct {
	subprotocol string
	extensions  string // as in Sec-WebSocket-Extensions; empty: none
	rsv         byte   // the reserved bits that the extensions use
	codecs      []Codec
	turn        chan struct{} // held by who sends, where the codecs want their messages in order; else nil
}

// spell gives the header's names the form of RFC 6455 in place of net/http's: there are peers that know no other.
func spell(h http.Header) {
	for _, name := range []string{"Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", extensionHeader} {
		if k := http.CanonicalHeaderKey(name); h[k] != nil {
			h[name] = h[k]
			delete(h, k)
		}
	}
}
