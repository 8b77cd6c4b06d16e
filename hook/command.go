package hook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"hawser/lifecycle"
)

// waitDelay is how long the output of a command that has ended may be held open by what it started.
const waitDelay = 500 * time.Millisecond

// run runs a command in a process group of its own, which is killed when ctx ends. Exit status 0 accepts, with what the lines of standard output say; any other refuses with
// the last line of standard error.
func (s *Set) run(ctx context.Context, command []string, e *Event) (reply, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(inherited(), e.environment()...)
	out, said := &head{most: int(s.o.MaxAnswer)}, &tail{most: maxText}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, waitDelay
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it left somebody behind
		killGroup(cmd)
		err = nil
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return reply{}, lifecycle.ReasonLost.Because(ctx.Err()) // call knows about the time
	case errors.As(err, &exit) && exit.Exited():
		return refusal(cmp.Or(said.lastLine(), "exit status "+strconv.Itoa(exit.ExitCode()))), nil
	case err != nil:
		return reply{}, lifecycle.ReasonInternal.Because(err)
	case out.over:
		lifecycle.CountReached("hook.MaxAnswer")
		return reply{}, lifecycle.ReasonTooBig.With("more than %d bytes of output (MaxAnswer)", s.o.MaxAnswer)
	}
	return parseLines(out.b)
}

// parseLines reads what a command has printed: path=, redirect=, refuse=, values= and drop. Other lines are left alone.
func parseLines(b []byte) (r reply, err error) {
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "path":
			r.Path = value
		case "redirect":
			r = refusal("sent elsewhere")
			r.redirect = value
		case "refuse":
			return refusal(value), nil
		case "drop":
			r.Drop = value == ""
		case "values":
			if !json.Valid([]byte(value)) || value[0] != '[' {
				return reply{}, lifecycle.ReasonProtocol.With("values=: want a JSON array")
			}
			r.Values = json.RawMessage(value)
		}
	}
	return r, nil
}

// environment is the event as variables. What a client says may hold anything but a zero byte, which no variable can.
func (e *Event) environment() (list []string) {
	text := func(name, value string) {
		if value != "" {
			list = append(list, variable+name+"="+strings.ReplaceAll(value, "\x00", ""))
		}
	}
	number := func(name string, value float64) {
		if value != 0 {
			text(name, strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	text("EVENT", e.Event)
	text("SEQ", strconv.FormatUint(e.Seq, 10))
	text("TIME", e.Time.Format(time.RFC3339Nano))
	text("PROTOCOL", e.Protocol)
	text("CONN", e.Conn)
	text("REMOTE", e.Remote)
	text("APP", e.App)
	text("PATH", e.Path)
	text("QUERY", e.Query.Encode())
	text("URL", e.URL)
	text("CLIENT", e.Client)
	text("MODE", e.Mode)
	text("WHAT", e.What)
	number("START", e.Start)
	number("LENGTH", e.Length)
	text("REASON", e.Reason)
	text("TEXT", e.Text)
	number("DURATION", e.Duration)
	number("RECEIVED", float64(e.Received))
	number("SENT", float64(e.Sent))
	text("NAME", e.Name)
	text("VALUES", string(e.Values))
	text("TYPE", e.Type)
	number("TIMESTAMP", float64(e.Timestamp))
	number("SIZE", float64(e.Size))
	return list
}

// variable begins the name of each variable of an event.
const variable = "HAWSER_"

// inherited is the server's environment without variables that could be taken for an event's.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, variable) })
}

// head keeps the first bytes that are written to it.
type head struct {
	most int
	b    []byte
	over bool
}

func (h *head) Write(b []byte) (int, error) {
	n := min(len(b), h.most-len(h.b))
	h.b = append(h.b, b[:n]...)
	h.over = h.over || n < len(b)
	return len(b), nil
}

// tail keeps the last bytes that are written to it.
type tail struct {
	most int
	b    []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b[max(0, len(b)-2*t.most):]...)
	if extra := len(t.b) - 2*t.most; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(b), nil
}

func (t *tail) lastLine() string {
	b := bytes.TrimSpace(t.b)
	return string(bytes.TrimSpace(b[bytes.LastIndexByte(b, '\n')+1:]))
}
