package session

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"hawser/lifecycle"
)

// assignWant is assign for what a subscribe asks for, and for commands and windows.
func (p *parser) assignWant(k key, v value) string {
	m := &p.m
	switch k {
	case keyCount:
		return v.number(&m.Count)
	case keyAge:
		return v.span(&m.Age)
	case keyRate:
		m.HasRate = true
		return v.rate(&m.Rate)
	case keyWindow:
		return v.window(&m.Window)
	case keyName:
		return v.text(&m.Name)
	case keyTimeout:
		return v.span(&m.Timeout)
	case keyTTL:
		return v.span(&m.TTL)
	case keyOn:
		return v.boolean(&m.On)
	case keyRequired:
		want := v.boolean(&m.Optional)
		m.Optional = !m.Optional
		return want
	case keyPriority:
		return v.small(&m.Priority)
	case keyWithin:
		return v.span(&m.Within)
	case keyTotal:
		return v.number(&m.Total)
	case keyStart:
		return v.number(&m.First)
	case keyRows:
		if m.Rows = v.raw; v.first != '[' {
			return "array"
		}
	}
	return ""
}

// span stores milliseconds that are not negative.
func (v value) span(dst *time.Duration) string {
	if text := v.millis(dst); text != "" || *dst < 0 {
		return "milliseconds, 0 or more"
	}
	return ""
}

// rate stores a number that is not negative.
func (v value) rate(dst *float64) string {
	f, err := strconv.ParseFloat(string(v.raw), 64)
	if v.name() != "number" || err != nil || f < 0 || math.IsInf(f, 0) {
		return "number, 0 or more"
	}
	*dst = f
	return ""
}

// names stores an array of strings.
func (v value) names(dst *[]string) string {
	want := fmt.Sprintf("array of at most %d strings", MaxNames)
	err := v.each(func(e value) bool {
		var s string
		ok := e.text(&s) == "" && len(*dst) < MaxNames
		*dst = append(*dst, s)
		return ok
	})
	if !err {
		return want
	}
	return ""
}

// each calls f with each element of an array until f returns false; it returns false then, and for what is no array.
func (v value) each(f func(value) bool) bool {
	if v.first != '[' {
		return false
	}
	s := scanner{b: v.raw}
	more, err := s.open(']')
	for more && err == nil {
		c := s.peek()
		raw, verr := s.value(MaxDepth)
		if verr != nil || !f(value{raw: raw, first: c}) {
			return false
		}
		more, err = s.more(']')
	}
	return err == nil
}

// entries stores the requests inside a hello, which have no "t".
func (v value) entries(t Type, dst *[]Message) string {
	want := "array of " + t.String() + " requests"
	n := 0
	v.each(func(value) bool { n++; return true })
	*dst = slices.Grow(*dst, n)
	var p parser // one for all: it is large
	ok := v.each(func(e value) bool {
		p = parser{scanner: scanner{b: e.raw}, m: Message{Type: t}, has: 1 << keyT}
		if e.first != '{' || p.object() != nil {
			return false
		}
		if err := p.check(); err != nil {
			want += ": " + err.(*Error).Reason.Text
			return false
		}
		p.m.Path = string(p.path)
		*dst = append(*dst, p.m)
		return true
	})
	if !ok {
		return want
	}
	return ""
}

// window stores what a subscription's window asks for.
func (v value) window(dst **Window) string {
	raw, want := v.object()
	if want != "" {
		return want
	}
	fields, err := ParseFields(nil, raw)
	if err != nil {
		return "object"
	}
	w := &Window{}
	for _, f := range fields {
		if f.Value == nil {
			continue
		}
		e, want := value{raw: f.Value, first: f.Value[0]}, ""
		switch f.Name {
		case "start":
			want = e.number(&w.Start)
		case "count":
			want = e.number(&w.Count)
		case "order":
			want = e.text(&w.Order)
		case "filter":
			want = e.filters(&w.Filter)
		}
		if want != "" {
			return f.Name + ": " + want
		}
	}
	if w.Count == 0 || w.Count > MaxWindow {
		return fmt.Sprintf("count: 1 to %d", MaxWindow)
	}
	*dst = w
	return ""
}

// filters stores an array of arrays of member, operator and value.
func (v value) filters(dst *[]Filter) string {
	ok := v.each(func(row value) bool {
		var parts []value
		row.each(func(e value) bool { parts = append(parts, e); return len(parts) <= 3 })
		if len(parts) != 3 || len(*dst) == MaxFilters {
			return false
		}
		var f Filter
		if parts[0].text(&f.Member) != "" || parts[1].text(&f.Op) != "" || !slices.Contains(FilterOps, f.Op) {
			return false
		}
		f.Value = parts[2].raw
		*dst = append(*dst, f)
		return true
	})
	if !ok {
		return fmt.Sprintf("at most %d of [member, operator, value]", MaxFilters)
	}
	return ""
}

// checkPublisher says what is wrong with the name of a publisher.
func checkPublisher(name string) *Error {
	ok := name == "" || len(name) >= MinPublisher && len(name) <= MaxPublisher
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("publisher: want %d to %d letters, digits, - or _", MinPublisher, MaxPublisher)}
	}
	return nil
}
