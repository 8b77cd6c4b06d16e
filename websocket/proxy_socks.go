package websocket

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"hawser/lifecycle"
)

// The numbers of SOCKS version 5 (RFC 1928 and 1929).
const (
	socksVersion  = 5
	socksConnectC = 1
	socksNoLogin  = 0
	socksPassword = 2
	socksNone     = 0xff
	socksIPv4     = 1
	socksName     = 3
	socksIPv6     = 4
	socksMaxText  = 255

	passwordVersion = 1
)

// socksReplies says what the replies mean (RFC 1928 section 6).
var socksReplies = map[byte]struct {
	text   string
	reason lifecycle.Reason
}{
	1: {"general failure", lifecycle.ReasonInternal},
	2: {"not allowed by its rules", lifecycle.ReasonRefused},
	3: {"network unreachable", lifecycle.ReasonLost},
	4: {"host unreachable", lifecycle.ReasonLost},
	5: {"connection refused", lifecycle.ReasonLost},
	6: {"time to live expired", lifecycle.ReasonLost},
	7: {"command not supported", lifecycle.ReasonUnsupported},
	8: {"kind of address not supported", lifecycle.ReasonUnsupported},
}

// socksConnect asks a SOCKS5 proxy for a connection to the target, whose name the proxy resolves. What the proxy answers goes into refused, which is returned then.
func socksConnect(nc net.Conn, user *url.Userinfo, target string, refused *ProxyError) error {
	refuse := func(r lifecycle.Reason, format string, args ...any) error {
		refused.Reason, refused.reason = fmt.Sprintf(format, args...), r
		return refused
	}
	request, err := socksRequest(target)
	if err != nil {
		return refuse(lifecycle.ReasonBadRequest, "%v", err)
	}
	login, err := socksLogin(user)
	if err != nil {
		return refuse(lifecycle.ReasonBadRequest, "%v", err)
	}
	greeting := []byte{socksVersion, 1, socksNoLogin}
	if login != nil {
		greeting = []byte{socksVersion, 2, socksNoLogin, socksPassword}
	}
	var b [2 + socksMaxText + 4]byte
	if err := ask(nc, greeting, b[:2]); err != nil {
		return err
	}
	switch method := b[1]; {
	case b[0] != socksVersion:
		return refuse(lifecycle.ReasonProtocol, "got version %d, want 5 (RFC 1928 section 3)", b[0])
	case method == socksNone:
		return refuse(lifecycle.ReasonUnauthorized, "it wants another login (RFC 1928 section 3)")
	case method == socksPassword && login != nil:
		if err := ask(nc, login, b[:2]); err != nil {
			return err
		}
		if b[1] != 0 {
			return refuse(lifecycle.ReasonUnauthorized, "it does not accept the user and password (RFC 1929 section 2)")
		}
	case method != socksNoLogin:
		return refuse(lifecycle.ReasonProtocol, "got login method %d, want one that was offered (RFC 1928 section 3)", method)
	}
	if err := ask(nc, request, b[:2]); err != nil {
		return err
	}
	switch reply, known := socksReplies[b[1]]; {
	case b[0] != socksVersion:
		return refuse(lifecycle.ReasonProtocol, "got version %d, want 5 (RFC 1928 section 6)", b[0])
	case known:
		return refuse(reply.reason, "%s (RFC 1928 section 6)", reply.text)
	case b[1] != 0:
		return refuse(lifecycle.ReasonInternal, "reply %d (RFC 1928 section 6)", b[1])
	}
	if _, err := io.ReadFull(nc, b[2:5]); err != nil {
		return err
	}
	rest := map[byte]int{socksIPv4: net.IPv4len, socksIPv6: net.IPv6len, socksName: 1 + int(b[4])}[b[3]]
	if rest == 0 {
		return refuse(lifecycle.ReasonProtocol, "got kind of address %d, want 1, 3 or 4 (RFC 1928 section 6)", b[3])
	}
	_, err = io.ReadFull(nc, b[:rest-1+2]) // the address, of which a byte is read, and the port
	return err
}

// ask writes, and reads an answer of known length.
func ask(nc net.Conn, question, answer []byte) error {
	if _, err := nc.Write(question); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, answer)
	return err
}

// socksRequest is the wish for a connection (RFC 1928 section 4).
func socksRequest(target string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("the port %q is no number below 65536", portText)
	}
	b := []byte{socksVersion, socksConnectC, 0}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.Is4():
		b = append(append(b, socksIPv4), ip.AsSlice()...)
	case err == nil && ip.Zone() == "":
		b = append(append(b, socksIPv6), ip.AsSlice()...)
	case len(host) > socksMaxText:
		return nil, fmt.Errorf("a host name of %d bytes, at most %d are allowed", len(host), socksMaxText)
	default:
		b = append(append(b, socksName, byte(len(host))), host...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(port)), nil
}

// socksLogin tells user and password (RFC 1929 section 2); nil without a user.
func socksLogin(user *url.Userinfo) ([]byte, error) {
	if user == nil {
		return nil, nil
	}
	name := user.Username()
	password, _ := user.Password()
	if len(name) > socksMaxText || len(password) > socksMaxText || name == "" {
		return nil, fmt.Errorf("user and password have %d and %d bytes, at most %d are allowed", len(name), len(password), socksMaxText)
	}
	b := append([]byte{passwordVersion, byte(len(name))}, name...)
	return append(append(b, byte(len(password))), password...), nil
}
