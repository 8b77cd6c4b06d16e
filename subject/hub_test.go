package subject

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

func mustPublish(t testing.TB, h *Hub, path string, data string) (epoch, offset uint64) {
	t.Helper()
	epoch, offset, err := h.Publish(path, Log, Update{Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return epoch, offset
}

// readAll takes what a cursor can be given now.
func readAll(t testing.TB, c *ring.Cursor[Update]) (got []string, missed uint64) {
	t.Helper()
	batch := make([]ring.Item[Update], 7)
	for {
		n, m, err := c.Read(batch)
		missed += m
		if err != nil || n == 0 {
			return got, missed
		}
		for _, item := range batch[:n] {
			got = append(got, string(item.Value.Data))
		}
	}
}

func TestLogHistory(t *testing.T) {
	h := NewHub(Options{Limits: ring.Limits{Count: 3}})
	s, err := h.Open("/chat")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	follower := s.Ring().Cursor(0)
	for i := range 5 {
		epoch, offset := mustPublish(t, h, "/chat", fmt.Sprint(i))
		if epoch != s.Epoch() || offset != uint64(i) {
			t.Errorf("publish %d: epoch %x offset %d", i, epoch, offset)
		}
	}
	got, missed := readAll(t, follower)
	if missed != 2 || !slices.Equal(got, []string{"2", "3", "4"}) {
		t.Errorf("got %v with %d missed, want 2 3 4 with 2", got, missed)
	}
	if info := s.Info(); info.Oldest != 2 || info.Offset != 5 || info.Items != 3 || info.Kind != Log {
		t.Errorf("info %+v", info)
	}
}

func TestLogBoundsByBytesAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(Options{Limits: ring.Limits{Bytes: 5 * int64(136+updateOverhead), Age: time.Minute}})
		for range 100 {
			mustPublish(t, h, "/a", `"`+strings.Repeat("x", 134)+`"`)
		}
		if info := h.Find("/a").Info(); info.Items != 5 || info.Bytes != 5*int64(136+updateOverhead) {
			t.Errorf("%d items of %d bytes, want 5", info.Items, info.Bytes)
		}
		time.Sleep(2 * time.Minute)
		mustPublish(t, h, "/a", `1`)
		if info := h.Find("/a").Info(); info.Items != 1 || !info.Updated.Equal(time.Now()) {
			t.Errorf("%d items, updated %v, want 1 now", info.Items, info.Updated)
		}
	})
}

func TestUpdateKeepsItsTimes(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	h := NewHub(Options{Now: func() time.Time { return now }})
	if _, _, err := h.Publish("/a", Log, Update{Data: []byte("1"), Media: 1500 * time.Millisecond, HasMedia: true}); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, h, "/a", "2")
	s := h.Find("/a")
	first, _ := s.Ring().At(0)
	if !first.Value.At.Equal(now) || first.Value.Media != 1500*time.Millisecond || !first.Value.HasMedia {
		t.Errorf("got %+v", first.Value)
	}
	if second, _ := s.Ring().At(1); second.Value.HasMedia {
		t.Errorf("an update without media time has one: %+v", second.Value)
	}
	if snap := s.Snapshot(); snap.Offset != 2 || !snap.HasMedia || snap.Media != 1500*time.Millisecond || snap.Kind != Log {
		t.Errorf("snapshot %+v", snap)
	}
}

func TestRefusals(t *testing.T) {
	h := NewHub(Options{MaxMessage: 300, MaxSubjects: 2})
	mustPublish(t, h, "/log", "1")
	if _, _, err := h.Publish("/record", Record, Update{Fields: []Field{{"a", []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	one := []Field{{"a", []byte("1")}}
	for _, c := range []struct {
		name string
		path string
		kind Kind
		u    Update
		want lifecycle.Reason
	}{
		{"another kind than the log's", "/log", Record, Update{Fields: one}, lifecycle.ReasonBadRequest},
		{"another kind than the record's", "/record", Log, Update{Data: []byte("1")}, lifecycle.ReasonBadRequest},
		{"no kind", "/log", None, Update{Data: []byte("1")}, lifecycle.ReasonBadRequest},
		{"an unknown kind", "/log", 9, Update{Data: []byte("1")}, lifecycle.ReasonBadRequest},
		{"fields to a log", "/log", Log, Update{Fields: one}, lifecycle.ReasonBadRequest},
		{"data to a record", "/record", Record, Update{Data: []byte("1")}, lifecycle.ReasonBadRequest},
		{"no data", "/log", Log, Update{}, lifecycle.ReasonBadRequest},
		{"no fields", "/record", Record, Update{}, lifecycle.ReasonBadRequest},
		{"no JSON", "/log", Log, Update{Data: []byte("{")}, lifecycle.ReasonBadRequest},
		{"no UTF-8", "/log", Log, Update{Data: []byte("\"\xff\"")}, lifecycle.ReasonBadRequest},
		{"a field without JSON", "/record", Record, Update{Fields: []Field{{"a", []byte("x")}}}, lifecycle.ReasonBadRequest},
		{"an empty value", "/record", Record, Update{Fields: []Field{{"a", []byte{}}}}, lifecycle.ReasonBadRequest},
		{"a field without a name", "/record", Record, Update{Fields: []Field{{"", []byte("1")}}}, lifecycle.ReasonBadRequest},
		{"a long name", "/record", Record, Update{Fields: []Field{{strings.Repeat("n", MaxName+1), []byte("1")}}}, lifecycle.ReasonBadRequest},
		{"deep JSON", "/log", Log, Update{Data: []byte(strings.Repeat("[", 65) + strings.Repeat("]", 65))}, lifecycle.ReasonBadRequest},
		{"a big message", "/log", Log, Update{Data: []byte(`"` + strings.Repeat("x", 300) + `"`)}, lifecycle.ReasonTooBig},
		{"one subject too many", "/third", Log, Update{Data: []byte("1")}, lifecycle.ReasonLimit},
		{"no path", "", Log, Update{Data: []byte("1")}, lifecycle.ReasonBadRequest},
	} {
		_, _, err := h.Publish(c.path, c.kind, c.u)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want.Word)
		}
	}
	for _, s := range h.List() {
		if s.Offset != 1 {
			t.Errorf("what was refused changed %s: offset %d", s.Path, s.Offset)
		}
	}
}

func TestPaths(t *testing.T) {
	h := NewHub(Options{})
	for path, ok := range map[string]bool{
		"/a": true, "/fx/EUR USD": true, "/價格": true, "/a/./b": true, "/" + strings.Repeat("a", MaxPath-1): true,
		"a": false, "/": false, "//a": false, "/a/": false, "/a//b": false, "/../a": false, "/a/..": false, "/\xff": false, "/" + strings.Repeat("a", MaxPath): false,
	} {
		s, err := h.Open(path)
		if (err == nil) != ok || err != nil && !errors.Is(err, lifecycle.ReasonBadRequest) {
			t.Errorf("open %q: %v, want ok %v", path, err, ok)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestErrorText(t *testing.T) {
	h := NewHub(Options{})
	mustPublish(t, h, "/chat", "1")
	_, _, err := h.Publish("/chat", Record, Update{Fields: []Field{{"a", []byte("1")}}})
	const want = `subject: publish "/chat": bad_request: the subject is a log, not a record`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSubscriberFirst(t *testing.T) {
	h := NewHub(Options{})
	s, err := h.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Kind() != None {
		t.Errorf("kind %v before the first publish", s.Kind())
	}
	cursor := s.Ring().Cursor(s.Snapshot().Offset)
	mustPublish(t, h, "/a", `"first"`)
	if got, _ := readAll(t, cursor); !slices.Equal(got, []string{`"first"`}) {
		t.Errorf("got %v", got)
	}
	if s.Kind() != Log {
		t.Errorf("kind %v", s.Kind())
	}
}

func TestIdleSubjectsLeave(t *testing.T) {
	h := NewHub(Options{MaxSubjects: 1})
	a, err := h.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.Open("/a")
	if err != nil || again != a {
		t.Fatalf("the second open gave another subject, err %v", err)
	}
	if _, err := h.Open("/b"); !errors.Is(err, lifecycle.ReasonLimit) {
		t.Errorf("open past the limit: %v", err)
	}
	a.Close()
	if h.Find("/a") == nil {
		t.Error("gone while still open")
	}
	again.Close()
	if h.Find("/a") != nil || len(h.List()) != 0 {
		t.Error("an empty subject stays after the last close")
	}
	if _, _, err := h.Publish("/b", Record, Update{Fields: []Field{{"a", []byte("x")}}}); err == nil || len(h.List()) != 0 {
		t.Errorf("a refused first publish left a subject behind: %v", err)
	}
	mustPublish(t, h, "/b", "1")
	b, err := h.Open("/b")
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if h.Find("/b") == nil {
		t.Error("a published subject left with its last follower")
	}
}

func TestRemoveEndsFollowersAndBeginsAnew(t *testing.T) {
	log := lifecycle.NewLog(ring.Limits{})
	h := NewHub(Options{Log: log})
	mustPublish(t, h, "/a", "1")
	s, err := h.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cursor := s.Ring().Cursor(1)
	if !h.Remove("/a", lifecycle.ReasonGone) || h.Remove("/a", lifecycle.ReasonGone) {
		t.Error("the first remove must find the subject, the second not")
	}
	if _, _, err := cursor.Read(make([]ring.Item[Update], 1)); !errors.Is(err, lifecycle.ReasonGone) {
		t.Errorf("the follower got %v, want gone", err)
	}
	if _, _, err := s.Publish(Log, Update{Data: []byte("2")}); !errors.Is(err, lifecycle.ReasonGone) {
		t.Errorf("publish to the removed subject: %v", err)
	}
	if epoch, offset := mustPublish(t, h, "/a", "1"); epoch == s.Epoch() || offset != 0 {
		t.Errorf("epoch %x offset %d after %x: want a new epoch and 0", epoch, offset, s.Epoch())
	}
	var kinds []string
	for _, e := range log.Recent(9) {
		kinds = append(kinds, e.Kind+" "+e.Path+" "+e.State)
	}
	if want := []string{"published /a log", "removed /a log", "published /a log"}; !slices.Equal(kinds, want) {
		t.Errorf("events %q, want %q", kinds, want)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	h := NewHub(Options{})
	mustPublish(t, h, "/a", "1")
	s := h.Find("/a")
	h.Close(lifecycle.ReasonShutdown)
	if _, _, err := h.Publish("/a", Log, Update{Data: []byte("1")}); !errors.Is(err, lifecycle.ReasonShutdown) {
		t.Errorf("publish: %v", err)
	}
	if _, err := h.Open("/b"); !errors.Is(err, lifecycle.ReasonShutdown) {
		t.Errorf("open: %v", err)
	}
	if err := s.Ring().Cursor(1).Wait(context.Background()); err != nil {
		t.Errorf("a follower still waits: %v", err)
	}
}

func TestEpochsDifferAndFitSignedIntegers(t *testing.T) {
	h := NewHub(Options{})
	seen := map[uint64]bool{}
	for i := range 1000 {
		epoch, _ := mustPublish(t, h, fmt.Sprint("/", i), "1")
		if epoch == 0 || epoch > math.MaxInt64 || seen[epoch] {
			t.Fatalf("epoch %x", epoch)
		}
		seen[epoch] = true
	}
}

func TestKindText(t *testing.T) {
	for _, k := range []Kind{None, Log, Record} {
		text, _ := k.MarshalText()
		var back Kind
		if err := back.UnmarshalText(text); err != nil || back != k {
			t.Errorf("%v: back %v, %v", k, back, err)
		}
	}
	if Kind(9).String() != "Kind(9)" {
		t.Error(Kind(9).String())
	}
	if _, err := ParseKind("list"); err == nil {
		t.Error("kind list was parsed")
	}
}

func TestWiresAreMadeOnceForAll(t *testing.T) {
	h := NewHub(Options{})
	s, err := h.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	made := 0
	maker := func() func(ring.Item[Update]) ([]byte, int) {
		return func(item ring.Item[Update]) ([]byte, int) {
			made++
			frame := fmt.Appendf(nil, "%d:%s", item.Seq, item.Value.Data)
			return frame, len(frame)
		}
	}
	one := s.Wires.Open("text", s.Ring(), 0, ring.Limits{}, maker)
	two := s.Wires.Open("text", s.Ring(), 0, ring.Limits{}, maker)
	defer one.Close()
	defer two.Close()
	for i := range 10 {
		mustPublish(t, h, "/a", fmt.Sprint(i))
	}
	for _, out := range []*ring.Output[[]byte]{one, two} {
		items := make([]ring.Item[[]byte], 20)
		n, _, err := out.Ring.Cursor(0).Read(items)
		if n != 10 || err != nil || string(items[9].Value) != "9:9" {
			t.Errorf("%d frames, last %q, err %v", n, items[max(n-1, 0)].Value, err)
		}
	}
	if made != 10 {
		t.Errorf("%d frames made for 10 updates", made)
	}
}

// waker looks at the subject while it is woken, as a follower may that wants the image.
type waker struct {
	s      *Subject
	offset uint64
}

func (w *waker) Wake() { _, w.offset = w.s.Image(); w.s.Snapshot() }

func TestFollowerMayLookWhileWoken(t *testing.T) {
	h := NewHub(Options{})
	s, err := h.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := &waker{s: s}
	if cursor := s.Ring().Cursor(0); !cursor.Arm(w) {
		t.Fatal("not armed")
	}
	mustPublish(t, h, "/a", "1")
	if w.offset != 1 {
		t.Errorf("offset %d when woken, want 1", w.offset)
	}
}

// Many publishers of one record and one log: no offset is given twice, and the image is what the updates give in the order of their offsets.
func TestManyPublishers(t *testing.T) {
	const publishers, each = 8, 500
	h := NewHub(Options{Limits: ring.Limits{Count: publishers * each}, RecordLimits: ring.Limits{Count: publishers * each}})
	s, err := h.Open("/record")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	late := make(chan *follower, publishers)
	given := make([][]uint64, publishers)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				fields := []Field{{"last", fmt.Append(nil, p)}, {fmt.Sprint("f", i%10), fmt.Append(nil, p*each+i)}}
				_, offset, err := h.Publish("/record", Record, Update{Fields: fields})
				if err != nil {
					t.Error(err)
					return
				}
				given[p] = append(given[p], offset)
				if _, _, err := h.Publish("/log", Log, Update{Data: fmt.Append(nil, i)}); err != nil {
					t.Error(err)
				}
				if i == each/2 {
					late <- newFollower(s)
				}
			}
		})
	}
	wg.Wait()
	close(late)
	checkOffsets(t, slices.Concat(given...), publishers*each)
	image := model{}
	image.apply(s.Snapshot().Fields)
	followers := []*follower{{s: s, image: model{}, cursor: s.Ring().Cursor(0)}}
	for f := range late {
		followers = append(followers, f)
	}
	for _, f := range followers {
		f.follow(t)
		checkEqual(t, "a follower", f.image, image)
	}
	if got, missed := readAll(t, h.Find("/log").Ring().Cursor(0)); len(got) != publishers*each || missed > 0 {
		t.Errorf("the log has %d messages, %d missed", len(got), missed)
	}
}

func checkOffsets(t *testing.T, offsets []uint64, n int) {
	t.Helper()
	slices.Sort(offsets)
	for i, offset := range offsets {
		if offset != uint64(i) {
			t.Fatalf("offset %d is given where %d should be", offset, i)
		}
	}
	if len(offsets) != n {
		t.Errorf("%d offsets given, want %d", len(offsets), n)
	}
}

// Followers come and go while somebody publishes once and somebody removes: nothing that was acknowledged may be lost to a subject that is listed.
func TestComeAndGo(t *testing.T) {
	h := NewHub(Options{})
	for range 200 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				s, err := h.Open("/a")
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			})
		}
		wg.Go(func() { mustPublish(t, h, "/a", "1") })
		wg.Wait()
		s := h.Find("/a")
		if s == nil || s.Snapshot().Offset != 1 || s.Info().Open != 0 {
			t.Fatal("the publish was lost")
		}
		h.Remove("/a", lifecycle.ReasonDone)
	}
}
