package session

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hawser/lifecycle"
)

var (
	jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")
	reasonRow = regexp.MustCompile("(?m)^\\| (\\d{4}) \\| `(\\w+)` \\| (yes|no) \\|")
)

// TestProtocolDocument: every example in docs/protocol.md is a message as this package writes it, every type has one, and the table of reasons is that of lifecycle.
func TestProtocolDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Type]bool{}
	for _, block := range jsonBlock.FindAllStringSubmatch(string(b), -1) {
		text := regexp.MustCompile(`\n +`).ReplaceAllString(block[1], "") // one message over several lines
		for msg := range strings.Lines(text) {
			msg = strings.TrimSpace(msg)
			var m Message
			if err := Parse([]byte(msg), &m); err != nil {
				t.Errorf("%s: %v", msg, err)
			}
			seen[m.Type] = true
			if m.Type == TypePublish && !strings.Contains(msg, `"kind"`) {
				continue // the default is written out
			}
			if again := string(Append(nil, &m)); again != msg {
				t.Errorf("got  %s\nwant %s", again, msg)
			}
		}
	}
	for typ := TypeHello; int(typ) < len(typeWords); typ++ {
		if !seen[typ] {
			t.Errorf("no example of %s", typ)
		}
	}
	rows := reasonRow.FindAllStringSubmatch(string(b), -1)
	if len(rows) != 18 {
		t.Errorf("%d reasons", len(rows))
	}
	for _, row := range rows {
		r, ok := lifecycle.ReasonByWord(row[2])
		if !ok || row[1] != strconv.Itoa(r.Code) || (row[3] == "yes") != r.Retry {
			t.Errorf("%v: lifecycle says %+v", row[1:], r)
		}
	}
}
