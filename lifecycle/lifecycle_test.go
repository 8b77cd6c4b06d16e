package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHealthWords(t *testing.T) {
	for light, word := range map[Health]string{Red: "red", Amber: "amber", Green: "green"} {
		if got := light.String(); got != word {
			t.Errorf("%d is %q, want %q", light, got, word)
		}
		b, err := json.Marshal(light)
		if err != nil || string(b) != `"`+word+`"` {
			t.Errorf("%s marshals to %s, %v", word, b, err)
		}
		var back Health
		if err := json.Unmarshal(b, &back); err != nil || back != light {
			t.Errorf("%s unmarshals to %v, %v", b, back, err)
		}
	}
	if got := Health(9).String(); got != "Health(9)" {
		t.Errorf("a stranger is %q", got)
	}
	for _, word := range []string{"", "Red", "blue", "Health(9)"} {
		if light, err := ParseHealth(word); err == nil {
			t.Errorf("ParseHealth(%q) gave %v, want an error", word, light)
		}
	}
	if err := json.Unmarshal([]byte(`"blue"`), new(Health)); err == nil || err.Error() != `lifecycle: light "blue": want red, amber or green` {
		t.Errorf("error text: %v", err)
	}
}

// reasonVariables returns the words that the package's variables ask the table for, by the variable's name.
func reasonVariables(t *testing.T) map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	words := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") || len(spec.Values) != 1 {
			return true
		}
		if index, ok := spec.Values[0].(*ast.IndexExpr); ok {
			words[spec.Names[0].Name] = strings.Trim(index.Index.(*ast.BasicLit).Value, `"`)
		}
		return true
	})
	return words
}

func TestReasonTable(t *testing.T) {
	var rows []struct {
		Name, Word, Text string
		Code             int
		Retry            *bool
	}
	if err := json.Unmarshal(reasonsJSON, &rows); err != nil {
		t.Fatal(err)
	}
	variables := reasonVariables(t)
	if len(variables) != len(rows) {
		t.Errorf("%d variables for %d rows", len(variables), len(rows))
	}
	codes, words := make(map[int]bool), make(map[string]bool)
	for _, row := range rows {
		if row.Code < 4000 || row.Code > 4999 || codes[row.Code] {
			t.Errorf("%s: code %d is used twice or outside of 4000 to 4999", row.Word, row.Code)
		}
		if row.Word == "" || words[row.Word] || strings.ToLower(row.Word) != row.Word || row.Text == "" || row.Retry == nil {
			t.Errorf("%s: a word twice or not in lower case, or something is lacking: %+v", row.Word, row)
			continue
		}
		codes[row.Code], words[row.Word] = true, true
		if got := variables["Reason"+row.Name]; got != row.Word {
			t.Errorf("variable Reason%s asks for %q, want %q", row.Name, got, row.Word)
		}
		want := Reason{Code: row.Code, Word: row.Word, Text: row.Text, Retry: *row.Retry}
		byWord, _ := ReasonByWord(row.Word)
		byCode, _ := ReasonByCode(row.Code)
		if byWord != want || byCode != want || want.IsZero() {
			t.Errorf("%s: by word %+v, by code %+v, want %+v", row.Word, byWord, byCode, want)
		}
	}
	if r, ok := ReasonByWord("nonsense"); ok {
		t.Errorf("nonsense is %+v", r)
	}
	if r, ok := ReasonByCode(1); ok {
		t.Errorf("1 is %+v", r)
	}
}

func TestReasonsAreKnownByCode(t *testing.T) {
	cause := errors.New("the disk is full")
	for _, c := range []struct {
		r    Reason
		text string
	}{
		{ReasonSlow, "slow: " + ReasonSlow.Text},
		{ReasonSlow.With("%d bytes behind", 12), "slow: 12 bytes behind"},
		{ReasonSlow.Because(cause), "slow: the disk is full"},
		{ReasonSlow.Because(nil), "slow: " + ReasonSlow.Text},
		{Reason{Code: ReasonSlow.Code, Word: "slow"}, "slow"},
	} {
		wrapped := fmt.Errorf("rtmp: play: %w", c.r)
		if !errors.Is(wrapped, ReasonSlow) || errors.Is(wrapped, ReasonLost) {
			t.Errorf("%v is not known by its code", c.r)
		}
		if c.r.Error() != c.text || c.r.Retry != ReasonSlow.Retry && c.r.Text != "" {
			t.Errorf("got %q, retry %v; want %q", c.r.Error(), c.r.Retry, c.text)
		}
	}
	if !errors.Is(ReasonSlow.Because(cause), cause) {
		t.Error("the cause is not unwrapped")
	}
	if ReasonSlow.Text != "the receiver does not keep up" {
		t.Error("With or Because changed the table")
	}
}

func TestReasonOf(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want Reason
	}{
		{nil, ReasonDone},
		{fmt.Errorf("x: %w", ReasonTaken), ReasonTaken},
		{op(os.ErrDeadlineExceeded), ReasonTimeout},
		{context.DeadlineExceeded, ReasonTimeout},
		{io.EOF, ReasonLost},
		{io.ErrUnexpectedEOF, ReasonLost},
		{net.ErrClosed, ReasonLost},
		{op(os.NewSyscallError("writev", syscall.ECONNRESET)), ReasonLost},
		{op(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), ReasonLost},
		{errors.New("what?"), ReasonInternal},
	} {
		got := ReasonOf(c.err)
		if got.Code != c.want.Code {
			t.Errorf("%v: %s, want %s", c.err, got.Word, c.want.Word)
		}
		if c.err != nil && !errors.Is(got, c.err) && !errors.Is(c.err, got) {
			t.Errorf("%v: the cause is lost", c.err)
		}
	}
}

// The JSON of an event is read by other programs: fields may be added, none may change.
func TestEventJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	for _, c := range []struct {
		event Event
		want  string
	}{
		{Event{Time: at, Kind: KindOpen}, `{"seq":0,"time":"2026-01-02T03:04:05.6789Z","kind":"open","light":"red"}`},
		{
			Event{Seq: 7, Time: at, Kind: KindState, Conn: "rtmp-12", Protocol: "rtmp", Side: Server, Remote: "127.0.0.1:4711", Path: "/live/a", From: "connected",
				State: "publishing", Light: Green, Reason: ReasonSlow.Because(errors.New("late")), Detail: "d", Missed: 3, Server: "s", Transport: "tcp", Attempt: 2,
				Delay: 1500 * time.Millisecond},
			`{"seq":7,"time":"2026-01-02T03:04:05.6789Z","kind":"state","conn":"rtmp-12","protocol":"rtmp","side":"server","remote":"127.0.0.1:4711","path":"/live/a",` +
				`"from":"connected","state":"publishing","light":"green","reason":{"code":4002,"word":"slow","text":"late","retry":true},"detail":"d","missed":3,` +
				`"server":"s","transport":"tcp","attempt":2,"delay":1500000000}`,
		},
	} {
		b, err := json.Marshal(c.event)
		if err != nil || string(b) != c.want {
			t.Errorf("got  %s, %v\nwant %s", b, err, c.want)
		}
		var back Event
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		c.event.Reason.Err = nil
		if back != c.event {
			t.Errorf("read back: %+v\nwant %+v", back, c.event)
		}
	}
	b, err := json.Marshal(ConnInfo{ID: "rtmp-1", Protocol: "rtmp", Side: Client, Since: at})
	if want := `{"id":"rtmp-1","protocol":"rtmp","side":"client","light":"red","since":"2026-01-02T03:04:05.6789Z"}`; err != nil || string(b) != want {
		t.Errorf("got  %s, %v\nwant %s", b, err, want)
	}
}
