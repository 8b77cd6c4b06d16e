package session

import (
	"strconv"
	"time"
	"unicode/utf8"

	"hawser/lifecycle"
)

// Append appends the JSON of a message to dst. Fields that the type does not use are ignored; what docs/protocol.md marks optional is left out where it is
// empty. Data, and Fields where it is not empty, must be valid JSON; Append does not check them. A message of TypeUnknown appends nothing.
func Append(dst []byte, m *Message) []byte {
	if m.Type == TypeUnknown || int(m.Type) >= len(typeWords) {
		return dst
	}
	dst = append(dst, `{"t":"`...)
	dst = append(dst, typeWords[m.Type]...)
	dst = append(dst, '"')
	if m.Type.toServer() {
		dst = appendToServer(dst, m)
	} else {
		dst = appendToClient(dst, m)
	}
	return append(dst, '}')
}

func appendToServer(dst []byte, m *Message) []byte {
	switch m.Type {
	case TypeHello:
		return appendHello(dst, m)
	case TypePublish:
		dst = appendString(appendID(dst, m.ID), "path", m.Path)
		dst = appendTime(appendPayload(appendKind(dst, max(m.Kind, KindLog)), m), m)
		return appendDuration(dst, "ttl", m.TTL)
	case TypeSubscribe, TypePlay:
		return appendStart(appendString(dst, "path", m.Path), m)
	case TypePing, TypePong:
		return appendAt(appendID(dst, m.ID), m.At)
	case TypeSignal:
		return appendPayload(appendString(dst, "path", m.Path), &Message{Data: m.Data})
	case TypeBye:
		return appendReason(dst, m.Reason)
	case TypeThrottle, TypeCall, TypeCancel, TypeToken, TypePause, TypeResume, TypeSource:
		return appendCommand(dst, m)
	}
	return appendString(dst, "path", m.Path) // unsubscribe, stop
}

func appendHello(dst []byte, m *Message) []byte {
	dst = appendUint(dst, "version", uint64(m.Version))
	dst = appendOptional(dst, "client", m.Client)
	dst = appendOptional(dst, "token", m.Token)
	dst = appendOptional(dst, "session", m.Session)
	dst = appendOptional(dst, "publisher", m.Publisher)
	dst = appendEntries(dst, "subscribe", m.Subscribe)
	return appendEntries(dst, "play", m.Play)
}

// appendEntries appends the requests inside a hello.
func appendEntries(dst []byte, key string, entries []Message) []byte {
	if len(entries) == 0 {
		return dst
	}
	dst = append(appendKey(dst, key), '[')
	for i := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(append(dst, `{"path":`...), entries[i].Path)
		dst = append(appendStart(dst, &entries[i]), '}')
	}
	return append(dst, ']')
}

// appendCommand appends the requests that are neither publish nor subscribe.
func appendCommand(dst []byte, m *Message) []byte {
	switch m.Type {
	case TypeThrottle:
		dst = appendString(dst, "path", m.Path)
		if !m.HasRate {
			return append(dst, `,"rate":null`...)
		}
		return appendRate(dst, m)
	case TypeCall:
		dst = appendString(appendID(dst, m.ID), "name", m.Name)
		return appendDuration(appendData(dst, m.Data), "timeout", m.Timeout)
	case TypeCancel:
		return appendID(dst, m.ID)
	case TypeToken:
		return appendString(appendID(dst, m.ID), "token", m.Token)
	case TypeSource:
		dst = strconv.AppendBool(appendKey(appendString(dst, "path", m.Path), "on"), m.On)
		if m.Optional {
			dst = append(dst, `,"required":false`...)
		}
		return appendNumber(dst, "priority", uint64(max(m.Priority, 0)))
	}
	return dst // pause, resume
}

func appendToClient(dst []byte, m *Message) []byte {
	switch m.Type {
	case TypeWelcome:
		return appendWelcome(dst, m)
	case TypeUpdate:
		dst = appendPosition(appendString(dst, "path", m.Path), m.Epoch, m.Offset)
		dst = append(dst, `,"at":`...)
		dst = strconv.AppendInt(dst, m.At, 10)
		if m.Kind == KindJSON {
			dst = appendKind(dst, m.Kind)
		}
		return appendTime(appendPayload(dst, m), m)
	case TypeSnapshot:
		dst = appendPosition(appendKind(appendString(dst, "path", m.Path), m.Kind), m.Epoch, m.Offset)
		if len(m.Fields) > 0 {
			dst = append(append(dst, `,"fields":`...), m.Fields...)
		}
		return appendTime(appendData(dst, m.Data), m)
	case TypeGap:
		dst = appendEpoch(appendString(dst, "path", m.Path), m.Epoch)
		return appendUint(appendUint(dst, "from", m.GapFrom), "to", m.GapTo)
	case TypeStatus:
		dst = appendString(dst, "path", m.Path)
		return appendReason(appendString(dst, "status", m.Status.String()), m.Reason)
	case TypeAck:
		return appendPosition(appendString(appendID(dst, m.ID), "path", m.Path), m.Epoch, m.Offset)
	case TypeMedia:
		return appendMedia(dst, m)
	case TypeResult:
		dst = appendMillisAt(appendData(appendID(dst, m.ID), m.Data), "expires", m.Expires)
		return appendReason(appendAt(dst, m.At), m.Reason)
	case TypeWindow:
		dst = appendPosition(appendString(dst, "path", m.Path), m.Epoch, m.Offset)
		dst = appendUint(appendUint(dst, "total", m.Total), "start", m.First)
		return append(appendKey(dst, "rows"), m.Rows...)
	case TypeWanted:
		return strconv.AppendBool(appendKey(appendString(dst, "path", m.Path), "on"), m.On)
	case TypeDrain:
		return appendReason(appendDuration(dst, "within", m.Within), m.Reason)
	}
	// error, ejected
	return appendReason(appendOptional(appendID(dst, m.ID), "path", m.Path), m.Reason)
}

func appendWelcome(dst []byte, m *Message) []byte {
	dst = appendUint(dst, "version", uint64(m.Version))
	dst = appendString(dst, "session", m.Session)
	dst = appendString(dst, "server", m.Server)
	dst = appendUint(dst, "heartbeat", uint64(m.Heartbeat.Milliseconds()))
	dst = append(dst, `,"resumed":`...)
	dst = strconv.AppendBool(dst, m.Resumed)
	dst = appendMillisAt(appendOptional(dst, "user", m.User), "expires", m.Expires)
	return appendAt(dst, m.At)
}

func appendMedia(dst []byte, m *Message) []byte {
	dst = appendPosition(appendString(dst, "path", m.Path), m.Epoch, m.Offset)
	dst = appendString(dst, "status", m.Status.String())
	dst = appendOptional(dst, "mime", m.MIME)
	if len(m.Tracks) > 0 {
		dst = append(dst, `,"tracks":[`...)
		for i := range m.Tracks {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendTrack(dst, &m.Tracks[i])
		}
		dst = append(dst, ']')
	}
	dst = appendNumber(appendTime(dst, m), "skipped", m.Skipped)
	return appendReason(dst, m.Reason)
}

func appendTrack(dst []byte, t *Track) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(t.ID), 10)
	dst = appendString(dst, "kind", t.Kind)
	dst = appendString(dst, "codec", t.Codec)
	dst = appendNumber(dst, "width", uint64(t.Width))
	dst = appendNumber(dst, "height", uint64(t.Height))
	dst = appendNumber(dst, "sampleRate", uint64(t.SampleRate))
	dst = appendNumber(dst, "channels", uint64(t.Channels))
	return append(dst, '}')
}

// appendStart appends where a subscribe or a play starts.
func appendStart(dst []byte, m *Message) []byte {
	if m.From != FromDefault {
		dst = appendString(dst, "from", m.From.String())
	}
	if m.From == FromOffset {
		dst = appendPosition(dst, m.Epoch, m.Offset)
	}
	dst = appendDuration(appendNumber(dst, "count", m.Count), "age", m.Age)
	if m.HasRate {
		dst = appendRate(dst, m)
	}
	if len(m.Names) > 0 {
		dst = appendNames(appendKey(dst, "fields"), m.Names)
	}
	if m.Window != nil {
		dst = appendWindow(dst, m.Window)
	}
	return dst
}

func appendRate(dst []byte, m *Message) []byte {
	return strconv.AppendFloat(appendKey(dst, "rate"), m.Rate, 'f', -1, 64)
}

func appendNames(dst []byte, names []string) []byte {
	dst = append(dst, '[')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, name)
	}
	return append(dst, ']')
}

func appendWindow(dst []byte, w *Window) []byte {
	dst = append(appendKey(dst, "window"), `{"start":`...)
	dst = strconv.AppendUint(dst, w.Start, 10)
	dst = appendOptional(appendUint(dst, "count", w.Count), "order", w.Order)
	if len(w.Filter) > 0 {
		dst = append(appendKey(dst, "filter"), '[')
		for i, f := range w.Filter {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendString(append(dst, '['), f.Member)
			dst = AppendString(append(dst, ','), f.Op)
			dst = append(append(append(dst, ','), f.Value...), ']')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendData leaves out what there is none of.
func appendData(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	return append(appendKey(dst, "data"), data...)
}

// appendPayload appends the fields of a record or the patch of a document where there are such, else the data.
func appendPayload(dst []byte, m *Message) []byte {
	switch {
	case len(m.Fields) > 0:
		return append(append(dst, `,"fields":`...), m.Fields...)
	case len(m.Patch) > 0:
		return append(append(dst, `,"patch":`...), m.Patch...)
	}
	dst = append(dst, `,"data":`...)
	if len(m.Data) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, m.Data...)
}

// AppendFields appends the JSON object of fields, the form of Message.Fields. F is Field or a type of the same shape.
func AppendFields[F ~struct {
	Name  string
	Value []byte
}](dst []byte, fields []F) []byte {
	dst = append(dst, '{')
	for i := range fields {
		f := Field(fields[i])
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, f.Name), ':')
		if f.Value == nil {
			dst = append(dst, "null"...)
		} else {
			dst = append(dst, f.Value...)
		}
	}
	return append(dst, '}')
}

// AppendString appends s as a JSON string (RFC 8259 section 7), shortest form. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = appendEscape(append(dst, s[start:i]...), c)
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, `\n`...)
	case c == '\t':
		return append(dst, `\t`...)
	case c == '\r':
		return append(dst, `\r`...)
	case c < 0x20:
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(dst, "\uFFFD"...)
}

func appendKey(dst []byte, key string) []byte {
	return append(append(append(dst, `,"`...), key...), `":`...)
}

func appendString(dst []byte, key, s string) []byte { return AppendString(appendKey(dst, key), s) }

// appendOptional leaves an empty string out.
func appendOptional(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(dst, key, s)
}

func appendUint(dst []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(dst, key), n, 10)
}

// appendNumber leaves zero out.
func appendNumber(dst []byte, key string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return appendUint(dst, key, n)
}

func appendID(dst []byte, id uint64) []byte { return appendNumber(dst, "id", id) }

func appendKind(dst []byte, k Kind) []byte { return appendString(dst, "kind", k.String()) }

func appendAt(dst []byte, at int64) []byte { return appendMillisAt(dst, "at", at) }

// appendMillisAt leaves a moment out that there is none of.
func appendMillisAt(dst []byte, key string, at int64) []byte {
	if at == 0 {
		return dst
	}
	return strconv.AppendInt(appendKey(dst, key), at, 10)
}

// appendDuration appends milliseconds, and leaves zero out.
func appendDuration(dst []byte, key string, d time.Duration) []byte {
	if d == 0 {
		return dst
	}
	return appendMillis(appendKey(dst, key), d)
}

func appendEpoch(dst []byte, epoch uint64) []byte {
	dst = append(dst, `,"epoch":"`...)
	return append(AppendEpoch(dst, epoch), '"')
}

func appendPosition(dst []byte, epoch, offset uint64) []byte {
	return strconv.AppendUint(append(appendEpoch(dst, epoch), `,"offset":`...), offset, 10)
}

// AppendEpoch appends an epoch as messages spell it: sixteen lower-case hexadecimal digits.
func AppendEpoch(dst []byte, epoch uint64) []byte {
	const hex = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hex[epoch>>shift&15])
	}
	return dst
}

func appendTime(dst []byte, m *Message) []byte {
	if !m.HasTime {
		return dst
	}
	return appendMillis(append(dst, `,"time":`...), m.Time)
}

// appendMillis appends a duration in milliseconds, with as many decimals as it takes to be exact.
func appendMillis(dst []byte, d time.Duration) []byte {
	n := uint64(d)
	if d < 0 {
		dst, n = append(dst, '-'), -n
	}
	dst = strconv.AppendUint(dst, n/1e6, 10)
	fraction := n % 1e6
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(1e5); fraction > 0; unit /= 10 {
		dst = append(dst, byte('0'+fraction/unit))
		fraction %= unit
	}
	return dst
}

func appendReason(dst []byte, r lifecycle.Reason) []byte {
	if r.IsZero() {
		return dst
	}
	dst = append(dst, `,"reason":{"code":`...)
	dst = strconv.AppendInt(dst, int64(r.Code), 10)
	dst = appendString(dst, "word", r.Word)
	dst = appendString(dst, "text", r.Text)
	dst = append(dst, `,"retry":`...)
	return append(strconv.AppendBool(dst, r.Retry), '}')
}
