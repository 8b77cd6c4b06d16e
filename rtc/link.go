package rtc

import "strings"

// maxICELinks bounds the STUN and TURN servers that are taken from one answer; what is more is passed over.
const maxICELinks = 16

// iceLinks returns the STUN and TURN servers among the links of an answer (RFC 8288 section 3, RFC 9725 section 4.6). What makes no sense is passed over.
func iceLinks(headers []string) (servers []ICEServer) {
	for _, rest := range headers {
		for len(servers) < maxICELinks {
			target, after, ok := strings.Cut(strings.TrimLeft(rest, " \t,"), ">")
			if !ok || !strings.HasPrefix(target, "<") {
				break
			}
			var params map[string]string
			params, rest = linkParams(after)
			if s, ok := iceLink(target[1:], params); ok {
				servers = append(servers, s)
			}
		}
	}
	return servers
}

// iceLink returns the server that a link names, if it is one that can be used.
func iceLink(url string, params map[string]string) (s ICEServer, ok bool) {
	scheme, host, _ := strings.Cut(strings.ToLower(url), ":")
	s = ICEServer{URLs: []string{url}, Username: params["username"], Credential: params["credential"]}
	for _, rel := range strings.Fields(params["rel"]) {
		ok = ok || strings.EqualFold(rel, "ice-server")
	}
	ok = ok && host != ""
	switch scheme {
	case "stun", "stuns":
		return s, ok
	case "turn", "turns":
		return s, ok && s.Username != "" && s.Credential != "" && (params["credential-type"] == "" || strings.EqualFold(params["credential-type"], "password"))
	}
	return s, false
}

// linkParams reads the parameters of a link, names in lower case, and returns what follows behind its comma. Of parameters of one name the first counts.
func linkParams(s string) (params map[string]string, rest string) {
	params = make(map[string]string)
	for {
		s = strings.TrimLeft(s, " \t;")
		if s == "" || s[0] == ',' {
			return params, s
		}
		end := strings.IndexAny(s, "=;,")
		if end < 0 {
			end = len(s)
		}
		name, value := strings.ToLower(strings.TrimRight(s[:end], " \t")), ""
		if s = s[end:]; strings.HasPrefix(s, "=") {
			value, s = linkValue(strings.TrimLeft(s[1:], " \t"))
		}
		if _, twice := params[name]; !twice {
			params[name] = value
		}
	}
}

// linkValue reads the value of a parameter: a token, or a quoted string (RFC 9110 sections 5.6.2 and 5.6.4).
func linkValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ";,")
		if end < 0 {
			end = len(s)
		}
		return strings.TrimRight(s[:end], " \t"), s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), strings.TrimLeft(s[i+1:], " \t")
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), "" // it has no end
}
