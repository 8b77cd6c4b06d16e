package session

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hawser/lifecycle"
)

var update = flag.Bool("update", false, "write the machines' lines of testdata/*.transcript anew")

// line is a line of a transcript: its word and the rest.
type line struct{ word, rest string }

func (l line) String() string { return strings.TrimSpace(l.word + " " + l.rest) }

func readTranscript(t *testing.T, name string) []line {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for s := range strings.Lines(string(b)) {
		s = strings.TrimSuffix(s, "\n")
		if s == "" || s[0] == '#' {
			lines = append(lines, line{"#", s})
			continue
		}
		word, rest, _ := strings.Cut(s, " ")
		lines = append(lines, line{word, rest})
	}
	return lines
}

func writeTranscript(t *testing.T, name string, lines []line) {
	t.Helper()
	var b strings.Builder
	for _, l := range lines {
		if l.word == "#" {
			l = line{rest: l.rest}
		}
		b.WriteString(l.String() + "\n")
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// machine is one end of a transcript.
type machine interface {
	input(l line) (out []line) // what the machine puts out
	isInput(word string) bool
	isOutput(word string) bool
}

func TestTranscripts(t *testing.T) {
	names, _ := filepath.Glob("testdata/*.transcript")
	if len(names) < 10 {
		t.Fatalf("only %d transcripts", len(names))
	}
	for _, name := range names {
		lines := readTranscript(t, name)
		who := "both"
		for _, l := range lines {
			if l.word == "for" {
				who = l.rest
			}
		}
		base := strings.TrimSuffix(filepath.Base(name), ".transcript")
		if who != "server" {
			t.Run(base+"/client", func(t *testing.T) { lines = replay(t, name, lines, newClientEnd(t, lines)) })
		}
		if who != "client" {
			t.Run(base+"/server", func(t *testing.T) { lines = replay(t, name, lines, newServerEnd(t, lines)) })
		}
	}
}

// replay feeds the inputs and compares, or with -update replaces, the outputs up to the next input. It returns the new lines.
func replay(t *testing.T, name string, lines []line, m machine) []line {
	t.Helper()
	var kept []line
	for i := 0; i < len(lines); {
		l := lines[i]
		i++
		kept = append(kept, l)
		if !m.isInput(l.word) {
			continue
		}
		got := m.input(l)
		var want, between []line
		for ; i < len(lines) && !m.isInput(lines[i].word) && lines[i].word != "#"; i++ {
			if m.isOutput(lines[i].word) {
				want = append(want, lines[i])
			} else {
				between = append(between, lines[i])
			}
		}
		if !*update {
			compare(t, l, got, want)
		}
		kept = append(kept, weave(got, between)...)
	}
	if *update {
		writeTranscript(t, name, kept)
	}
	return kept
}

// weave puts each request line of the server behind the message that it belongs to.
func weave(out, between []line) (woven []line) {
	for _, l := range out {
		woven = append(woven, l)
		if l.word == ">" && len(between) > 0 {
			woven, between = append(woven, between[0]), between[1:]
		}
	}
	return append(woven, between...)
}

// compare compares what is told to the application in one order and what is sent in another.
func compare(t *testing.T, in line, got, want []line) {
	t.Helper()
	for _, sent := range []bool{false, true} {
		pick := func(lines []line) (s []string) {
			for _, l := range lines {
				if (l.word[0] == '>' || l.word == "close") == sent {
					s = append(s, l.String())
				}
			}
			return s
		}
		if g, w := pick(got), pick(want); !slices.Equal(g, w) {
			t.Errorf("after %q:\ngot:\n  %s\nwant:\n  %s", in, strings.Join(g, "\n  "), strings.Join(w, "\n  "))
		}
	}
}

// options are those of the option line.
type options struct {
	Client, Token, Publisher     string
	Provider                     bool
	MaxSubscriptions, MaxMessage int
	MaxHeld                      int
}

func readOptions(t *testing.T, lines []line) (o options) {
	t.Helper()
	for _, l := range lines {
		if l.word == "option" {
			if err := json.Unmarshal([]byte(l.rest), &o); err != nil {
				t.Fatal(err)
			}
		}
	}
	return o
}

// serverEnd replays the server's side.
type serverEnd struct {
	t *testing.T
	s *Server
}

func newServerEnd(t *testing.T, lines []line) *serverEnd {
	o := readOptions(t, lines)
	return &serverEnd{t, NewServer(ServerOptions{MaxSubscriptions: o.MaxSubscriptions, MaxMessage: o.MaxMessage})}
}

func (e *serverEnd) isInput(w string) bool {
	return w == ">" || w == "<" || w == "<#" || w == "net"
}
func (e *serverEnd) isOutput(w string) bool { return w == "request" || w == "<!" || w == "end" }

func (e *serverEnd) input(l line) (out []line) {
	switch l.word {
	case ">":
		return e.receive(l.rest)
	case "net":
		e.s = NewServer(e.s.o) // another connection
	case "<":
		checkCodec(e.t, l.rest)
	case "<#":
		b := unhexLine(e.t, l.rest)
		h, payload, err := ParseMedia(b)
		if again := append(AppendMediaHeader(nil, h), payload...); err != nil || string(again) != string(b) {
			e.t.Errorf("%s: %v, encoded again %x", l, err, again)
		}
	}
	return nil
}

func (e *serverEnd) receive(msg string) (out []line) {
	req, err := e.s.Receive([]byte(msg))
	for req != nil || err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			out = append(out, line{"<!", string(e.Append(nil))})
			if e.Fatal {
				out = append(out, line{"end", e.Reason.Word})
			}
		}
		if req != nil {
			out = append(out, requestLine(req))
		}
		req, err = e.s.Next() // what stands in a hello
	}
	return out
}

// requestLine describes a request by the message that asks for it.
func requestLine(req Request) line {
	var m Message
	switch r := req.(type) {
	case Hello:
		m = Message{Type: TypeHello, Hello: r}
	case Subscribe:
		m = Message{Type: TypeSubscribe, Path: r.Path, From: r.From, Epoch: r.Epoch, Offset: r.Offset, Want: r.Want}
	case Unsubscribe:
		m = Message{Type: TypeUnsubscribe, Path: r.Path}
	case Publish:
		m = Message{Type: TypePublish, ID: r.ID, Path: r.Path, Kind: r.Kind, Data: r.Data, Fields: r.Fields, Patch: r.Patch, Time: r.Time, HasTime: r.HasTime,
			Command: Command{TTL: r.TTL}}
	case Play:
		m = Message{Type: TypePlay, Path: r.Path, From: r.From, Epoch: r.Epoch, Offset: r.Offset}
	case Stop:
		m = Message{Type: TypeStop, Path: r.Path}
	case Throttle:
		m = Message{Type: TypeThrottle, Path: r.Path, Want: Want{Rate: r.Rate, HasRate: r.HasRate}}
	case Call:
		m = Message{Type: TypeCall, ID: r.ID, Data: r.Data, Command: Command{Name: r.Name, Timeout: r.Timeout}}
	case Cancel:
		m = Message{Type: TypeCancel, ID: r.ID}
	case Token:
		m = Message{Type: TypeToken, ID: r.ID, Hello: Hello{Token: r.Token}}
	case Pause:
		m = Message{Type: TypePause}
	case Resume:
		m = Message{Type: TypeResume}
	case Source:
		m = Message{Type: TypeSource, Path: r.Path, Command: Command{On: r.On, Optional: r.Optional, Priority: r.Priority}}
	case Ping:
		m = Message{Type: TypePing, ID: r.ID}
	case Pong:
		m = Message{Type: TypePong, ID: r.ID}
	case Signal:
		m = Message{Type: TypeSignal, Path: r.Path, Data: r.Data}
	case Bye:
		m = Message{Type: TypeBye}
	}
	return line{"request", describe(m.Type.String(), &m)}
}

// describe is a word and the message without its "t".
func describe(word string, m *Message) string {
	s := string(Append(nil, m))
	prefix := `{"t":"` + m.Type.String() + `"`
	return word + " {" + strings.TrimPrefix(strings.TrimPrefix(s, prefix), ",")
}

// checkCodec parses a message and encodes it again.
func checkCodec(t *testing.T, s string) {
	t.Helper()
	var m Message
	if err := Parse([]byte(s), &m); err != nil {
		t.Errorf("%s: %v", s, err)
	}
	if again := string(Append(nil, &m)); m.Type != TypeUnknown && again != s {
		t.Errorf("encoded again:\ngot:  %s\nwant: %s", again, s)
	}
}

func unhexLine(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clientEnd replays the client's side.
type clientEnd struct {
	t      *testing.T
	c      *Client
	second [][]byte // what is sent on the second connection
}

func newClientEnd(t *testing.T, lines []line) *clientEnd {
	o := readOptions(t, lines)
	return &clientEnd{t: t, c: NewClient(ClientOptions{Name: o.Client, Token: o.Token, Publisher: o.Publisher, Provider: o.Provider, MaxHeld: o.MaxHeld, Strict: true})}
}

func (e *clientEnd) isInput(w string) bool {
	return slices.Contains([]string{"call", "net", "<", "<!", "<#", "<2"}, w)
}
func (e *clientEnd) isOutput(w string) bool {
	return slices.Contains([]string{">", ">2", "state", "event", "close"}, w)
}

func (e *clientEnd) input(l line) (out []line) {
	switch l.word {
	case "<", "<!":
		e.c.Receive([]byte(l.rest))
	case "<2":
		if _, err := e.c.Switched([]byte(l.rest)); err != nil {
			e.c.SwitchFailed()
		}
	case "<#":
		e.c.ReceiveMedia(unhexLine(e.t, l.rest))
	case "net":
		e.net(l.rest)
	case "call":
		e.call(l.rest)
	}
	for _, ev := range e.c.TakeEvents() {
		out = append(out, eventLine(ev))
	}
	for _, msg := range e.c.TakeMessages() {
		out = append(out, line{">", string(msg)})
	}
	for _, msg := range e.second {
		out = append(out, line{">2", string(msg)})
	}
	e.second = nil
	if r, ok := e.c.TakeClose(); ok {
		out = append(out, line{"close", r.Word})
	}
	return out
}

func (e *clientEnd) net(what string) {
	word, rest, _ := strings.Cut(what, " ")
	switch word {
	case "open":
		e.c.Opened()
	case "failed":
		e.c.Failed(lifecycle.ReasonLost)
	case "lost":
		e.c.Broken(lifecycle.ReasonLost)
	case "timeout":
		e.c.GiveUp(lifecycle.ReasonTimeout)
	case "retry":
		e.c.Retry()
	case "unreachable":
		e.c.Unreachable()
	case "switch":
		e.second = append(e.second, e.c.Switch(""))
	case "switch_failed":
		e.c.SwitchFailed()
	case "close":
		code, _ := strconv.Atoi(rest)
		r, ok := lifecycle.ReasonByCode(code)
		if !ok {
			r = lifecycle.ReasonLost
		}
		e.c.Closed(r)
	default:
		e.t.Fatalf("net %s", what)
	}
}

func (e *clientEnd) call(what string) {
	word, rest, _ := strings.Cut(what, " ")
	var m Message
	var err error
	if rest != "" {
		kind := map[string]string{"subscribe": "subscribe", "throttle": "throttle", "source": "source", "play": "play"}[word]
		if kind == "" {
			kind = "bye" // a type without required members
		}
		_ = Parse([]byte(strings.Replace(rest, "{", `{"t":"`+kind+`",`, 1)), &m)
	}
	switch word {
	case "connect":
		e.c.Connect()
	case "disconnect":
		e.c.Disconnect()
	case "ping":
		e.c.Ping()
	case "subscribe":
		err = e.c.Subscribe(m.Path, SubscribeOptions{From: m.From, Epoch: m.Epoch, Offset: m.Offset, Want: m.Want})
	case "unsubscribe":
		e.c.Unsubscribe(m.Path)
	case "publish":
		_, err = e.c.Publish(Publish{Path: m.Path, Kind: m.Kind, Data: m.Data, Fields: m.Fields, Patch: m.Patch, Time: m.Time, HasTime: m.HasTime, TTL: m.TTL})
	case "play":
		err = e.c.Play(m.Path, PlayOptions{Resume: strings.Contains(rest, `"resume":true`)})
	case "stop":
		e.c.Stop(m.Path)
	default:
		err = e.callMore(word, &m, rest)
	}
	if err != nil {
		e.t.Errorf("call %s: %v", what, err)
	}
}

func (e *clientEnd) callMore(word string, m *Message, rest string) (err error) {
	switch word {
	case "throttle":
		e.c.Throttle(m.Path, m.Rate, m.HasRate)
	case "call":
		_, err = e.c.Call(m.Name, m.Data, CallOptions{Timeout: m.Timeout, Resend: strings.Contains(rest, `"resend":true`)})
	case "cancel":
		e.c.Cancel(m.ID)
	case "renew":
		e.c.Renew(m.Token)
	case "credentials":
		e.c.Credentials(m.Token)
	case "credentials_failed":
		e.c.CredentialsFailed(m.Reason)
	case "pause":
		e.c.Pause()
	case "resume":
		e.c.Resume()
	case "signal":
		err = e.c.Signal(m.Path, m.Data)
	case "source":
		if m.On {
			err = e.c.Source(m.Path, SourceOptions{Optional: m.Optional, Priority: m.Priority})
		} else {
			e.c.SourceEnded(m.Path)
		}
	default:
		err = fmt.Errorf("unknown call")
	}
	return err
}

func eventLine(ev Event) line {
	m := Message{ID: ev.ID, Path: ev.Path, Kind: ev.Subject, Epoch: ev.Epoch, Offset: ev.Offset, At: ev.At, Time: ev.Time, HasTime: ev.HasTime,
		Data: ev.Data, Fields: ev.Fields, Patch: ev.Patch, Status: ev.Status, Media: ev.Media, View: ev.View, Reason: ev.Reason,
		Command: Command{On: ev.On, Within: ev.Within}}
	types := map[EventKind]Type{EventSnapshot: TypeSnapshot, EventUpdate: TypeUpdate, EventStatus: TypeStatus, EventAck: TypeAck,
		EventError: TypeError, EventMedia: TypeMedia, EventPong: TypePong, EventDrain: TypeDrain, EventWindow: TypeWindow,
		EventResult: TypeResult, EventWanted: TypeWanted, EventSignal: TypeSignal}
	switch ev.Kind {
	case EventState:
		return line{"state", strings.TrimSpace(ev.State.String() + " " + ev.Reason.Word)}
	case EventGap:
		s := fmt.Sprintf(`gap {"path":%q,"epoch":"%016x","from":%d`, ev.Path, ev.Epoch, ev.Offset)
		if ev.To > 0 {
			s += fmt.Sprintf(`,"to":%d`, ev.To)
		}
		return line{"event", s + "}"}
	case EventRenewed:
		m.At, m.Expires = 0, ev.At
		m.Type = TypeResult
		return line{"event", describe("renewed", &m)}
	case EventFragment:
		return line{"event", fmt.Sprintf(`fragment {"path":%q,"flags":%d,"kind":"%s","epoch":"%016x","offset":%d,"dts":%d,"payload":"%x"}`,
			ev.Path, ev.Flags, [...]string{"all", "video", "audio"}[ev.MediaKind], ev.Epoch, ev.Offset, ev.Time.Microseconds(), ev.Data)}
	}
	m.Type = types[ev.Kind]
	return line{"event", describe(ev.Kind.String(), &m)}
}
