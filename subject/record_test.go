package subject

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"hawser/lifecycle"
	"hawser/ring"
)

// model is what a follower holds: the fields by name.
type model map[string]string

func (m model) apply(fields []Field) {
	for _, f := range fields {
		if f.Value == nil {
			delete(m, f.Name)
		} else {
			m[f.Name] = string(f.Value)
		}
	}
}

// A random course of changes is followed by three followers that must all end up with the publisher's own map: one that takes a snapshot at
// any moment and then every update, one that asks from any offset what has changed, and one that lags behind a short ring and conflates.
func TestRecordModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			h := NewHub(Options{MaxFields: 1 + r.IntN(30), RecordLimits: ring.Limits{Count: 1 + r.IntN(8)}})
			runRecordModel(t, r, h)
		})
	}
}

func runRecordModel(t *testing.T, r *rand.Rand, h *Hub) {
	const steps = 400
	s, err := h.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	truth := model{}
	history := []model{{}} // history[n] is the image before the update at offset n
	lagging := newFollower(s)
	for range steps {
		fields := randomFields(r)
		_, offset, err := h.Publish("/a", Record, Update{Fields: fields})
		if errors.Is(err, lifecycle.ReasonLimit) {
			checkImage(t, s, truth)
			continue
		}
		if err != nil || offset != uint64(len(history)-1) {
			t.Fatalf("publish: offset %d, err %v, want offset %d", offset, err, len(history)-1)
		}
		truth.apply(fields)
		history = append(history, maps.Clone(truth))
		checkImage(t, s, truth)
		checkSince(t, s, history, uint64(r.IntN(len(history))))
		if r.IntN(6) == 0 {
			lagging.follow(t)
			checkEqual(t, "a follower that lags", lagging.image, truth)
		}
	}
	checkSince(t, s, history, uint64(len(history)-1))
}

func randomFields(r *rand.Rand) []Field {
	fields := make([]Field, 1+r.IntN(4))
	for i := range fields {
		fields[i].Name = fmt.Sprint("f", r.IntN(40))
		if r.IntN(3) > 0 {
			fields[i].Value = fmt.Append(nil, r.IntN(1000))
		}
	}
	return fields
}

func checkImage(t *testing.T, s *Subject, want model) {
	t.Helper()
	fields, _ := s.Image()
	got := model{}
	got.apply(fields)
	checkEqual(t, "the image", got, want)
	if info := s.Info(); info.Fields != len(want) {
		t.Fatalf("info counts %d fields, want %d", info.Fields, len(want))
	}
}

func checkSince(t *testing.T, s *Subject, history []model, offset uint64) {
	t.Helper()
	fields, now, err := s.ChangedSince(offset)
	if errors.Is(err, ErrOffset) {
		return // the follower takes the image, which is checked elsewhere; TestRecordForgetsOldRemovals says when this may be
	}
	if err != nil || now != uint64(len(history)-1) {
		t.Fatalf("changed since %d: now %d, err %v, want now %d", offset, now, err, len(history)-1)
	}
	got := maps.Clone(history[offset])
	got.apply(fields)
	checkEqual(t, fmt.Sprint("the image resumed from ", offset), got, history[now])
}

func checkEqual(t *testing.T, what string, got, want model) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// follower keeps an image as a session does: by updates, and by what changed when it has missed some.
type follower struct {
	s      *Subject
	image  model
	cursor *ring.Cursor[Update]
}

func newFollower(s *Subject) *follower {
	f := &follower{s: s, image: model{}}
	fields, offset := s.Image()
	f.image.apply(fields)
	f.cursor = s.Ring().Cursor(offset)
	return f
}

func (f *follower) follow(t *testing.T) {
	batch := make([]ring.Item[Update], 16)
	for {
		at := f.cursor.Seq()
		n, missed, err := f.cursor.Read(batch)
		switch {
		case err != nil:
			t.Errorf("read: %v", err)
			return
		case missed > 0:
			fields, now, err := f.s.ChangedSince(at)
			if err != nil {
				fields, now = f.s.Image()
				clear(f.image)
			}
			f.image.apply(fields)
			f.cursor.Seek(now)
			continue
		case n == 0:
			return
		}
		for _, item := range batch[:n] {
			f.image.apply(item.Value.Fields)
		}
	}
}

func TestRecordForgetsOldRemovals(t *testing.T) {
	h := NewHub(Options{MaxFields: 4})
	publish := func(name, value string) {
		t.Helper()
		f := Field{Name: name}
		if value != "" {
			f.Value = []byte(value)
		}
		if _, _, err := h.Publish("/a", Record, Update{Fields: []Field{f}}); err != nil {
			t.Fatal(err)
		}
	}
	publish("stays", "1")
	for i := range 4 {
		publish(fmt.Sprint("f", i), "1") // offsets 1, 3, 5, 7
		publish(fmt.Sprint("f", i), "")  // offsets 2, 4, 6, 8
	}
	s := h.Find("/a")
	if _, _, err := s.ChangedSince(0); err != nil {
		t.Errorf("four removals are not remembered: %v", err)
	}
	publish("f4", "1")
	publish("f4", "")
	if _, _, err := s.ChangedSince(0); !errors.Is(err, ErrOffset) {
		t.Errorf("from before a removal that is forgotten: got %v, want ErrOffset", err)
	}
	fields, now, err := s.ChangedSince(9)
	if err != nil || now != 11 || len(fields) != 1 || fields[0].Name != "f4" || fields[0].Value != nil {
		t.Errorf("since 9: got %v, %d, %v, want f4 removed", fields, now, err)
	}
	if _, now, err := s.ChangedSince(12); !errors.Is(err, ErrOffset) || now != 11 {
		t.Errorf("from ahead of the subject: got %d, %v, want 11, ErrOffset", now, err)
	}
	if info := s.Info(); info.Fields != 1 {
		t.Errorf("%d fields, want 1", info.Fields)
	}
}

func TestRecordNullRemoves(t *testing.T) {
	h := NewHub(Options{})
	for _, v := range []string{`1`, ` null `} {
		if _, _, err := h.Publish("/a", Record, Update{Fields: []Field{{"bid", []byte(v)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if fields, _ := h.Find("/a").Image(); len(fields) != 0 {
		t.Errorf("image %v, want none", fields)
	}
	fields, _, err := h.Find("/a").ChangedSince(0)
	if err != nil || len(fields) != 1 || fields[0].Value != nil {
		t.Errorf("changed %v, %v, want bid removed", fields, err)
	}
}

func TestRecordLimits(t *testing.T) {
	h := NewHub(Options{MaxFields: 2, MaxImage: 400})
	big := append(append([]byte{'"'}, bytes.Repeat([]byte("x"), 300)...), '"')
	for i, c := range []struct {
		fields []Field
		ok     bool
	}{
		{[]Field{{"a", []byte("1")}, {"b", []byte("1")}}, true},
		{[]Field{{"c", []byte("1")}}, false},
		{[]Field{{"a", nil}, {"c", []byte("1")}}, true},
		{[]Field{{"c", nil}, {"c", nil}, {"d", []byte("1")}, {"e", []byte("1")}}, false},
		{[]Field{{"b", big}}, false},
		{[]Field{{"c", nil}, {"b", big}}, true},
		{[]Field{{"b", nil}, {"b", nil}, {"x", big}, {"y", big}}, false},
		{[]Field{{"b", []byte("1")}}, true},
	} {
		_, _, err := h.Publish("/a", Record, Update{Fields: c.fields})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, lifecycle.ReasonLimit) {
			t.Errorf("update %d: %v, want ok %v", i, err, c.ok)
		}
	}
	if fields, offset := h.Find("/a").Image(); len(fields) != 1 || offset != 4 {
		t.Errorf("image %v at %d, want one field at 4", fields, offset)
	}
}

// One small field of a large message must not keep the message in memory.
func TestRecordValueDoesNotHoldMessage(t *testing.T) {
	h := NewHub(Options{})
	message := append([]byte(`{"small":1,"large":"`), bytes.Repeat([]byte("x"), 100_000)...)
	message = append(message, `"}`...)
	fields, err := ParseFields(message)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Publish("/a", Record, Update{Fields: fields}); err != nil {
		t.Fatal(err)
	}
	image, _ := h.Find("/a").Image()
	copy(message, bytes.Repeat([]byte("9"), len(message)))
	if string(image[0].Value) != "1" {
		t.Error("the small value aliases the large message")
	}
	if image[1].Value[0] != '9' {
		t.Error("the large value was copied for nothing")
	}
}

func TestImageIsSharedUntilTheNextPublish(t *testing.T) {
	h := NewHub(Options{})
	update := Update{Fields: []Field{{"a", []byte("1")}, {"b", []byte("2")}}}
	if _, _, err := h.Publish("/a", Record, update); err != nil {
		t.Fatal(err)
	}
	s := h.Find("/a")
	if n := testing.AllocsPerRun(100, func() { s.Image() }); n > 0.1 {
		t.Errorf("%v allocations for each Image", n)
	}
	before, _ := s.Image()
	if _, _, err := h.Publish("/a", Record, Update{Fields: []Field{{"a", []byte("3")}}}); err != nil {
		t.Fatal(err)
	}
	after, _ := s.Image()
	if string(before[0].Value) != "1" || string(after[0].Value) != "3" {
		t.Errorf("a is %s before and %s after, want 1 and 3", before[0].Value, after[0].Value)
	}
}
