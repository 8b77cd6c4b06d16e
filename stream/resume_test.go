package stream

import (
	"testing"
	"testing/synctest"
	"time"

	"hawser/ring"
)

// from opens a viewer that comes back.
func from(t *testing.T, h *Hub, epoch, offset uint64) *Viewer {
	t.Helper()
	v, err := h.ViewFrom("/live/a", textFormat, "test-1", epoch, offset)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestViewerComesBack(t *testing.T) {
	h := NewHub(Options{})
	p := publish(t, h)
	stays := view(t, h)
	expect(t, stays, "<live 0 skipped 0>")
	for i, key := range []bool{true, false, true, false} { // the offsets are 2 to 5, after two changes
		picture(t, p, i*40, key)
	}
	epoch := p.Stream().Epoch()
	expect(t, from(t, h, epoch, 3), "<live 2 skipped 0>", "v40", "k80", "v120")
	expect(t, from(t, h, epoch, 6), "<live 2 skipped 0>")
	expect(t, from(t, h, epoch, 99), "<live 2 skipped 0>", "k80", "v120")
	expect(t, from(t, h, epoch+1, 3), "<live 2 skipped 0>", "k80", "v120")
}

// Who comes back from far behind gets what it asks for, however long ago that was; only then may it be too slow.
func TestViewerComesBackLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(Options{MaxLag: time.Second})
		p := publish(t, h)
		for i := range 4 {
			picture(t, p, i*3000, i%2 == 0)
			time.Sleep(3 * time.Second)
		}
		v := from(t, h, p.Stream().Epoch(), 3)
		expect(t, v, "<live 2 skipped 0>", "v3000", "k6000", "v9000")
		picture(t, p, 12000, false)
		picture(t, p, 12040, true)
		time.Sleep(2 * time.Second)
		picture(t, p, 14000, false)
		expect(t, v, "<live 2 skipped 1>", "k12040", "v14000")
	})
}

// What one Fill gives is bounded by its size and one packet, and nothing is lost by that.
func TestFillIsBounded(t *testing.T) {
	h := NewHub(Options{Limits: ring.Limits{Count: 100}})
	p := publish(t, h)
	v := view(t, h)
	expect(t, v, "<live 0 skipped 0>")
	for i := range 40 {
		picture(t, p, i*40, i == 0)
	}
	var got []string
	for {
		bufs, size := v.Fill(nil, 10)
		if len(bufs) == 0 {
			break
		}
		if last := len(bufs[len(bufs)-1]); size-last >= 10 {
			t.Errorf("got %d bytes for 10", size)
		}
		for _, b := range bufs {
			got = append(got, string(b))
		}
	}
	if len(got) != 41 || got[1] != "k0" || got[40] != "v1560" {
		t.Errorf("got %q", got)
	}
}
