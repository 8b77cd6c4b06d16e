package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/session"
	"hawser/subject"
)

// windowRate is how often a window is sent at most, a second, unless the client asks for another rate.
const windowRate = 10

// windowFeed is a subscription to a part of a record as a list.
type windowFeed struct {
	feedState
	pacer   pacer
	want    *session.Window
	subject *subject.Subject
	cursor  *ring.Cursor[subject.Update]
	began   bool
	total   uint64
	shown   []byte // the rows that were last sent
	once    sync.Once
}

// newWindowFeed opens the subscription; it takes over the caller's hold on the subject.
func newWindowFeed(c *sessionConn, s *subject.Subject, want session.Want) *windowFeed {
	w := *want.Window
	w.Filter = slices.Clone(w.Filter)
	for i := range w.Filter {
		w.Filter[i].Value = bytes.Clone(w.Filter[i].Value)
	}
	f := &windowFeed{feedState: feedState{conn: c, path: s.Path(), told: session.StatusOK}, want: &w, subject: s}
	_, head := s.Ring().Bounds()
	f.cursor = s.Ring().Cursor(head)
	f.restate.Store(true)
	f.throttle(want.Rate, want.HasRate)
	return f
}

func (f *windowFeed) state() *feedState { return &f.feedState }

// Wake implements ring.Waker.
func (f *windowFeed) Wake() { f.wake(f) }

func (f *windowFeed) arm() bool { return f.pacer.resting() || f.cursor.Arm(f) }

func (f *windowFeed) throttle(rate float64, has bool) {
	if !has {
		rate = windowRate
	}
	f.pacer.set(rate, true)
}

func (f *windowFeed) fill(dst [][]byte, _ int) ([][]byte, int) {
	now := time.Now()
	if f.began {
		dst = f.restated(dst)
	}
	if !f.pacer.turn(now, f.Wake) {
		return dst, 0
	}
	snap := f.subject.Snapshot()
	f.cursor.Seek(snap.Offset)
	if _, _, err := f.cursor.Read(make([]ring.Item[subject.Update], 1)); err != nil {
		return f.conn.removed(dst, &f.feedState, err), 0
	}
	f.cursor.Seek(snap.Offset)
	if snap.Kind != subject.Record && snap.Kind != subject.None {
		return f.conn.refused(dst, &f.feedState, lifecycle.ReasonBadRequest.With("a %v has no window", snap.Kind)), 0
	}
	rows, total := window(f.want, snap.Fields)
	f.pacer.sent(now) // also when nothing has changed: the work is bounded
	if f.began && total == f.total && bytes.Equal(rows, f.shown) {
		return dst, 0
	}
	f.began, f.total, f.shown = true, total, rows
	m := session.Message{Type: session.TypeWindow, Path: f.path, Epoch: snap.Epoch, Offset: snap.Offset, View: session.View{Total: total, First: f.want.Start, Rows: rows}}
	b := textFrame(&m)
	return f.restated(append(dst, b)), len(b)
}

func (f *windowFeed) close() {
	f.once.Do(func() {
		f.closed.Store(true)
		f.pacer.stop()
		f.cursor.Close()
		f.subject.Close()
	})
}

// row is a field of a record with what it is put in order by.
type row struct {
	subject.Field
	key any
}

// window is what a window shows of a record: its rows as JSON, and how many pass the filter.
func window(w *session.Window, fields []subject.Field) (rows []byte, total uint64) {
	order, down := strings.CutPrefix(w.Order, "-")
	order = cmp.Or(order, "name")
	tests := filters(w.Filter)
	var list []row
	for _, f := range fields {
		if !passes(tests, f) {
			continue
		}
		list = append(list, row{Field: f, key: member(f, order)})
	}
	slices.SortStableFunc(list, func(a, b row) int {
		c := cmp.Or(compare(a.key, b.key), strings.Compare(a.Name, b.Name))
		if down {
			c = -c
		}
		return c
	})
	total = uint64(len(list))
	from := min(w.Start, total)
	return appendRows(nil, list[from:min(from+w.Count, total)]), total
}

func appendRows(dst []byte, list []row) []byte {
	dst = append(dst, '[')
	for i, r := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = session.AppendString(append(dst, '['), r.Name)
		dst = append(append(append(dst, ','), r.Value...), ']')
	}
	return append(dst, ']')
}

// test is a condition with its value decoded.
type test struct {
	member, op string
	value      any
}

func filters(list []session.Filter) []test {
	tests := make([]test, len(list))
	for i, f := range list {
		tests[i] = test{member: f.Member, op: f.Op}
		json.Unmarshal(f.Value, &tests[i].value) // it was parsed before
	}
	return tests
}

func passes(tests []test, f subject.Field) bool {
	for _, t := range tests {
		if !t.holds(member(f, t.member)) {
			return false
		}
	}
	return true
}

func (t test) holds(v any) bool {
	c, same := compare(v, t.value), kindOf(v) == kindOf(t.value)
	switch t.op {
	case "=":
		return same && c == 0
	case "!=":
		return !same || c != 0
	case "<":
		return same && c < 0
	case "<=":
		return same && c <= 0
	case ">":
		return same && c > 0
	case ">=":
		return same && c >= 0
	}
	text, ok := v.(string)
	part, ok2 := t.value.(string)
	if t.op == "prefix" {
		return ok && ok2 && strings.HasPrefix(text, part)
	}
	return ok && ok2 && strings.Contains(text, part)
}

// member is what a name means for a field: its name, its value, or a member of that.
func member(f subject.Field, name string) (v any) {
	if name == "name" {
		return f.Name
	}
	json.Unmarshal(f.Value, &v)
	if name == "." {
		return v
	}
	object, _ := v.(map[string]any)
	return object[name]
}

// kindOf puts values of different types in an order: nothing, false and true, numbers, strings, others.
func kindOf(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case float64:
		return 2
	case string:
		return 3
	}
	return 4
}

func compare(a, b any) int {
	if c := cmp.Compare(kindOf(a), kindOf(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case bool:
		if a == b.(bool) {
			return 0
		} else if a {
			return 1
		}
		return -1
	case float64:
		return cmp.Compare(a, b.(float64))
	case string:
		return strings.Compare(a, b.(string))
	}
	return 0
}
