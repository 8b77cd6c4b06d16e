package lifecycle

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Reason says why something ended or was refused. Its word is the same in logs, metrics, close frames and error messages. The zero value means that there is no reason to give.
type Reason struct {
	// Code is the number, also the WebSocket close code (RFC 6455 section 7.4.2, the private range).
	Code int `json:"code,omitempty"`
	// Word is the reason in one word, for example "slow".
	Word string `json:"word,omitempty"`
	// Text is for people; it says what exactly.
	Text string `json:"text,omitempty"`
	// Retry says that a later attempt may succeed; false means final.
	Retry bool `json:"retry,omitempty"`
	// Err is the cause; it stays in the process.
	Err error `json:"-"`
}

//go:embed reasons.json
var reasonsJSON []byte

// reasons is the table, by word.
var reasons = loadReasons()

func loadReasons() map[string]Reason {
	var list []Reason
	if err := json.Unmarshal(reasonsJSON, &list); err != nil {
		panic("lifecycle: reasons.json: " + err.Error())
	}
	table := make(map[string]Reason, len(list))
	for _, r := range list {
		table[r.Word] = r
	}
	return table
}

// The reasons, one variable for each row of reasons.json, which tells code, text and whether a retry may help.
var (
	ReasonDone         = reasons["done"]
	ReasonShutdown     = reasons["shutdown"]
	ReasonSlow         = reasons["slow"]
	ReasonTimeout      = reasons["timeout"]
	ReasonLost         = reasons["lost"]
	ReasonProtocol     = reasons["protocol"]
	ReasonTooBig       = reasons["too_big"]
	ReasonRefused      = reasons["refused"]
	ReasonUnauthorized = reasons["unauthorized"]
	ReasonTaken        = reasons["taken"]
	ReasonNotFound     = reasons["not_found"]
	ReasonGone         = reasons["gone"]
	ReasonEjected      = reasons["ejected"]
	ReasonLimit        = reasons["limit"]
	ReasonUnsupported  = reasons["unsupported"]
	ReasonInternal     = reasons["internal"]
	ReasonReplaced     = reasons["replaced"]
	ReasonBadRequest   = reasons["bad_request"]
)

// ReasonByWord returns the reason with the given word.
func ReasonByWord(word string) (Reason, bool) {
	r, ok := reasons[word]
	return r, ok
}

// ReasonByCode returns the reason with the given number.
func ReasonByCode(code int) (Reason, bool) {
	for _, r := range reasons {
		if r.Code == code {
			return r, true
		}
	}
	return Reason{}, false
}

// ReasonOf finds the reason in an error: the one that it wraps, or what the system says of a network connection (timeout, lost).
func ReasonOf(err error) Reason {
	var r Reason
	var ne net.Error
	switch {
	case err == nil:
		return ReasonDone
	case errors.As(err, &r):
		return r
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return ReasonTimeout.Because(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.As(err, &ne):
		return ReasonLost.Because(err)
	}
	return ReasonInternal.Because(err)
}

// IsZero says that there is no reason to give.
func (r Reason) IsZero() bool { return r.Code == 0 && r.Word == "" }

// With returns the reason with its text replaced by a formatted one.
func (r Reason) With(format string, args ...any) Reason {
	r.Text = fmt.Sprintf(format, args...)
	return r
}

// Because returns the reason with a cause, whose text it takes.
func (r Reason) Because(err error) Reason {
	if err != nil {
		r.Err, r.Text = err, err.Error()
	}
	return r
}

// Error returns the word and the text, so that a reason can be returned as an error.
func (r Reason) Error() string {
	if r.Text == "" {
		return r.Word
	}
	return r.Word + ": " + r.Text
}

// Unwrap returns the cause.
func (r Reason) Unwrap() error { return r.Err }

// Is matches reasons by their code, so that errors.Is(err, lifecycle.ReasonSlow) holds whatever the text.
func (r Reason) Is(target error) bool {
	t, ok := target.(Reason)
	return ok && t.Code == r.Code
}
