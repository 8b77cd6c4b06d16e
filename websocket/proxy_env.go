package websocket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// NoProxy is a value for the option Proxy: no proxy, whatever the environment says.
func NoProxy(*url.URL) (*url.URL, error) { return nil, nil }

// ProxyFromEnvironment returns the proxy that the environment names for a ws or wss URL, by the rules of net/http: HTTP_PROXY is for ws, HTTPS_PROXY for wss, ALL_PROXY for both where the other is not set;
// each also in lower case, which is looked at first. A value is a URL, or host:port for an HTTP proxy. There is none (nil) for localhost and loopback addresses, nor for the hosts of NO_PROXY: a list, with
// commas, of names ("a.com" with all below it, ".a.com" only what is below), addresses, networks ("10.0.0.0/8"), each but the last with a port if only that is meant, or "*". The environment is read at every call.
func ProxyFromEnvironment(u *url.URL) (*url.URL, error) {
	name, port := "http_proxy", "80"
	if u.Scheme == "wss" || u.Scheme == "https" {
		name, port = "https_proxy", "443"
	}
	value := environ(name)
	if value != "" && name == "http_proxy" && os.Getenv("REQUEST_METHOD") != "" {
		return nil, errors.New("HTTP_PROXY is not used in a CGI program, where the request's Proxy header may have set it")
	}
	if value == "" {
		name, value = "all_proxy", environ("all_proxy")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	if value == "" || excluded(u.Hostname(), port, environ("no_proxy")) {
		return nil, nil
	}
	p, err := url.Parse(value)
	if err != nil || p.Scheme == "" || p.Host == "" {
		p, err = url.Parse("http://" + value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not the URL of a proxy", strings.ToUpper(name)) // the value may hold a password
	}
	return p, nil
}

// environ is a variable, in lower or in upper case.
func environ(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return os.Getenv(strings.ToUpper(name))
}

// excluded says whether a host is reached without a proxy.
func excluded(host, port, list string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, err := netip.ParseAddr(host)
	isIP := err == nil
	ip = ip.Unmap()
	if host == "localhost" || isIP && ip.IsLoopback() {
		return true
	}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "*" {
			return true
		}
		if network, err := netip.ParsePrefix(entry); err == nil {
			if isIP && network.Contains(ip) {
				return true
			}
			continue
		}
		name := strings.Trim(entry, "[]")
		if h, p, err := net.SplitHostPort(entry); err == nil {
			if p != port && p != "" {
				continue
			}
			name = h
		}
		if covers(name, host, ip, isIP) {
			return true
		}
	}
	return false
}

// covers says whether a name or address of NO_PROXY means a host.
func covers(name, host string, ip netip.Addr, isIP bool) bool {
	if isIP {
		a, err := netip.ParseAddr(name)
		return err == nil && a.Unmap() == ip
	}
	name = strings.TrimPrefix(name, "*")
	if name == "" {
		return false
	}
	below := "." + strings.TrimPrefix(name, ".")
	return name == host || strings.HasSuffix(host, below)
}
