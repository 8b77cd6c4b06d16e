package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hawser/lifecycle"
	"hawser/server"
)

// watchRecord is what `hawser watch` prints in one line: what happened to the connection, as in the event log, or an update
// that came over it.
type watchRecord struct {
	lifecycle.Event

	// Subject is the kind of a subject, Epoch and Offset are the place of an update, a snapshot or a gap; To ends a gap.
	Subject string  `json:"subject,omitempty"`
	Epoch   string  `json:"epoch,omitempty"`
	Offset  *uint64 `json:"offset,omitempty"`
	To      *uint64 `json:"to,omitempty"`
	// Status is that of a subscription or a play.
	Status string `json:"status,omitempty"`
	// At is the wall clock at which the server took the update.
	At *time.Time `json:"at,omitempty"`
	// MediaTime is media time in milliseconds.
	MediaTime *float64 `json:"mediaTime,omitempty"`
	// Data is the JSON of a log's update, Fields are those of a record.
	Data   json.RawMessage `json:"data,omitempty"`
	Fields json.RawMessage `json:"fields,omitempty"`
	// Text is a text message of a WebSocket; Size is the length of a message in bytes, Hex its first bytes when it is not text.
	Text *string `json:"text,omitempty"`
	Size *int    `json:"size,omitempty"`
	Hex  string  `json:"hex,omitempty"`
	// MIME and Tracks say what is played; Media sums up what came since the last such line.
	MIME   string       `json:"mime,omitempty"`
	Tracks []watchTrack `json:"tracks,omitempty"`
	Media  *mediaTotals `json:"media,omitempty"`
}

type watchTrack struct {
	ID         int    `json:"id"`
	Kind       string `json:"kind"`
	Codec      string `json:"codec"`
	Width      int    `json:"width,omitempty"`
	Height     int    `json:"height,omitempty"`
	SampleRate int    `json:"sampleRate,omitempty"`
	Channels   int    `json:"channels,omitempty"`
}

func (t watchTrack) String() string {
	s := t.Kind + " " + t.Codec
	if t.Width > 0 {
		s += fmt.Sprintf(" %dx%d", t.Width, t.Height)
	}
	if t.SampleRate > 0 {
		s += fmt.Sprintf(" %d Hz %d ch", t.SampleRate, t.Channels)
	}
	return s
}

// The kinds of line that are no events of the log.
const (
	kindSnapshot = "snapshot"
	kindUpdate   = "update"
	kindGap      = "gap"
	kindStatus   = "status"
	kindTracks   = "tracks" // what is played: MIME or Tracks
	kindMedia    = "media"  // Media: what was played since the last one
	kindError    = "error"
)

// printer writes records, one a line.
type printer struct {
	w     io.Writer
	json  bool
	color bool
	conns bool // it is of many connections: lines say of which
	seq   uint64
}

func newPrinter(w io.Writer, asJSON bool) *printer {
	return &printer{w: w, json: asJSON, color: !asJSON && wantsColor(w)}
}

// wantsColor tells whether w is a terminal whose user has not declined colours (no-color.org).
func wantsColor(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *printer) print(r watchRecord) error {
	r.Seq = p.seq
	p.seq++
	var line []byte
	if p.json {
		var err error
		if line, err = json.Marshal(r); err != nil {
			return fmt.Errorf("hawser: watch: %w", err)
		}
	} else {
		line = p.appendLine(nil, &r)
	}
	_, err := p.w.Write(append(line, '\n'))
	return err
}

// clock is the form of the time at the start of a line.
const clock = "15:04:05.000"

var lightColors = [...]string{lifecycle.Red: "\x1b[31m", lifecycle.Amber: "\x1b[33m", lifecycle.Green: "\x1b[32m"}

const colorOff = "\x1b[0m"

// appendLine writes time, light, kind and what belongs to the kind. What a peer sent cannot steer the terminal.
func (p *printer) appendLine(dst []byte, r *watchRecord) []byte {
	dst = r.Time.Local().AppendFormat(dst, clock)
	dst = append(dst, ' ')
	word := fmt.Sprintf("%-5s", r.Light)
	if p.color && int(r.Light) < len(lightColors) {
		word = lightColors[r.Light] + word + colorOff
	}
	dst = append(dst, word...)
	if p.conns {
		dst = fmt.Appendf(dst, " %-11s", printable(cmp.Or(r.Conn, r.Protocol)))
	}
	dst = fmt.Appendf(dst, " %-9s", r.Kind)
	for _, part := range r.parts() {
		if part != "" {
			dst = append(dst, ' ')
			dst = append(dst, printable(part)...)
		}
	}
	return []byte(strings.TrimRight(string(dst), " "))
}

// parts are the words of a line after its kind; empty ones are left out.
func (r *watchRecord) parts() []string {
	parts := []string{r.change(), r.Path, r.Subject, r.Status, r.place(), when(r.MediaTime), r.attempt()}
	switch {
	case r.Text != nil:
		parts = append(parts, *r.Text)
	case r.Fields != nil:
		parts = append(parts, string(r.Fields))
	case r.Data != nil:
		parts = append(parts, string(r.Data))
	}
	if r.Size != nil && r.Text == nil {
		parts = append(parts, fmt.Sprintf("%d bytes", *r.Size), r.Hex)
	}
	if r.Media != nil {
		parts = append(parts, r.Media.String())
	}
	parts = append(parts, r.MIME)
	for _, t := range r.Tracks {
		parts = append(parts, "["+t.String()+"]")
	}
	if r.Missed > 0 {
		parts = append(parts, fmt.Sprintf("%d missed", r.Missed))
	}
	return append(parts, r.Detail, reasonText(r.Reason))
}

func (r *watchRecord) change() string {
	switch {
	case r.From != "" && r.State != "" && r.From != r.State:
		return r.From + " -> " + r.State
	case r.Kind == lifecycle.KindState, r.Kind == server.KindView:
		return r.State
	case r.Kind == server.KindSwitch:
		return "to " + r.Transport
	}
	return ""
}

func (r *watchRecord) place() string {
	switch {
	case r.Offset == nil:
		return ""
	case r.To != nil:
		return fmt.Sprintf("offsets %d to %d are lost", *r.Offset, *r.To-1)
	}
	return strconv.FormatUint(*r.Offset, 10)
}

// attempt says where a connection goes, at which attempt, and when.
func (r *watchRecord) attempt() string {
	var words []string
	if r.Server != "" {
		words = append(words, r.Server)
	}
	if r.Attempt > 1 {
		words = append(words, "attempt "+strconv.Itoa(r.Attempt))
	}
	if r.Delay > 0 {
		words = append(words, "in "+r.Delay.Round(time.Millisecond).String())
	}
	return strings.Join(words, ", ")
}

func reasonText(r lifecycle.Reason) string {
	if r.IsZero() {
		return ""
	}
	text := strings.TrimSpace(fmt.Sprintf("%s (%d)", r.Word, r.Code))
	if r.Text != "" {
		text += ": " + r.Text
	}
	return text
}

func when(ms *float64) string {
	if ms == nil {
		return ""
	}
	return fmt.Sprintf("@%.3fs", *ms/1000)
}

// printable replaces what could steer a terminal or break the line.
func printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if unprintable(c) {
			quoted := strconv.QuoteRuneToASCII(c)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func unprintable(c rune) bool { return !unicode.IsPrint(c) && c != utf8.RuneError }

// mediaTotals is what was played in an interval.
type mediaTotals struct {
	// Frames are those of all tracks; RTMP counts Messages instead, and has no Keyframes and no Last.
	Frames    int     `json:"frames,omitempty"`
	Messages  int     `json:"messages,omitempty"`
	Keyframes int     `json:"keyframes,omitempty"`
	Bytes     int     `json:"bytes"`
	Kbps      float64 `json:"kbps"` // over the interval
	// Last is the media time of the last frame in milliseconds.
	Last float64 `json:"last,omitempty"`
}

func (m mediaTotals) String() string {
	if m.Frames == 0 {
		return fmt.Sprintf("%d messages, %.0f kbps", m.Messages, m.Kbps)
	}
	return fmt.Sprintf("%d frames, %d keyframes, %.0f kbps, at %.3fs", m.Frames, m.Keyframes, m.Kbps, m.Last/1000)
}

// mediaMeter counts frames between two lines.
type mediaMeter struct {
	total mediaTotals
	since time.Time
}

func (m *mediaMeter) frame(keyframe bool, size int, at time.Duration) {
	m.total.Frames++
	if keyframe {
		m.total.Keyframes++
	}
	m.total.Bytes += size
	m.total.Last = milliseconds(at)
}

// take gives what was counted since the last call, nil when nothing was, and begins anew.
func (m *mediaMeter) take(now time.Time) *mediaTotals {
	t, took := m.total, now.Sub(m.since)
	m.total, m.since = mediaTotals{}, now
	if t.Frames == 0 {
		return nil
	}
	if took > 0 {
		t.Kbps = float64(t.Bytes) * 8 / 1000 / took.Seconds()
	}
	return &t
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
