package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hawser/flv"
)

type pushed struct {
	typ  byte
	ts   uint32
	at   time.Duration // since the start
	size int
}

func pushFile(ctx context.Context, file []byte, loop bool, each func(pushed) error) error {
	began := time.Now()
	p := flvPush{
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil },
		send: func(typ byte, ts uint32, body []byte) error {
			return each(pushed{typ, ts, time.Since(began), len(body)})
		},
		loop: loop,
	}
	return p.run(ctx)
}

var errEnough = errors.New("enough")

// The sample loops as its README says: 8000 ms a round on both tracks, the sequence headers once, every message when it is due.
func TestPushLoopsWithoutSeam(t *testing.T) {
	file, err := os.ReadFile("sample/sample.flv")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var audio, video []uint32
		setups := 0
		err := pushFile(t.Context(), file, true, func(m pushed) error {
			switch {
			case m.at != time.Duration(m.ts)*time.Millisecond:
				t.Errorf("message of %d ms sent at %v", m.ts, m.at)
			case m.typ == flv.TypeScript:
				setups++
			case m.typ == flv.TypeVideo:
				video = append(video, m.ts)
			case m.typ == flv.TypeAudio:
				audio = append(audio, m.ts)
			}
			if m.ts >= 24_000 {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		if setups != 1 {
			t.Errorf("%d script messages, want 1", setups)
		}
		video, audio = video[1:], audio[1:] // the sequence headers
		for n := range 3 * 240 {
			if want := uint32((n*1000 + 15) / 30); video[n] != want {
				t.Fatalf("video frame %d is at %d ms, want %d", n, video[n], want)
			}
		}
		for k := range 3*375 - 1 {
			if want := uint32((k*1024 + 24) / 48); audio[k] != want {
				t.Fatalf("sound packet %d is at %d ms, want %d", k, audio[k], want)
			}
		}
	})
}

func smallFile(tags ...flv.Tag) []byte {
	b := flv.AppendHeader(nil, true, true)
	for _, tag := range tags {
		b = flv.AppendTag(b, tag)
	}
	return b
}

func TestPushOnce(t *testing.T) {
	config, frame, end := []byte{0x17, 0, 0, 0, 0, 1}, []byte{0x17, 1, 0, 0, 0, 9}, []byte{0x17, 2, 0, 0, 0}
	file := smallFile(
		flv.Tag{Type: flv.TypeVideo, Timestamp: 0, Data: config},
		flv.Tag{Type: flv.TypeVideo, Timestamp: 5000, Data: frame},
		flv.Tag{Type: flv.TypeVideo, Timestamp: 5040, Data: frame},
		flv.Tag{Type: flv.TypeVideo, Timestamp: 5080, Data: end},
	)
	for _, c := range []struct {
		loop bool
		n    int
		want []uint32
	}{
		{false, 9, []uint32{0, 0, 40, 80}},
		{true, 6, []uint32{0, 0, 40, 80, 120, 160}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []uint32
			err := pushFile(t.Context(), file, c.loop, func(m pushed) error {
				if got = append(got, m.ts); len(got) == c.n {
					return errEnough
				}
				return nil
			})
			if !slices.Equal(got, c.want) || c.loop != errors.Is(err, errEnough) {
				t.Errorf("loop %v: times %v, err %v, want %v", c.loop, got, err, c.want)
			}
		})
	}
}

func TestPushSaysNewParametersAgain(t *testing.T) {
	one, two, frame := []byte{0x17, 0, 0, 0, 0, 1, 1}, []byte{0x17, 0, 0, 0, 0, 2, 2}, []byte{0x17, 1, 0, 0, 0, 9}
	file := smallFile(
		flv.Tag{Type: flv.TypeVideo, Timestamp: 0, Data: one}, flv.Tag{Type: flv.TypeVideo, Timestamp: 0, Data: frame},
		flv.Tag{Type: flv.TypeVideo, Timestamp: 40, Data: two}, flv.Tag{Type: flv.TypeVideo, Timestamp: 40, Data: frame},
	)
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		pushFile(t.Context(), file, true, func(m pushed) error {
			if sizes = append(sizes, m.size); len(sizes) == 8 {
				return errEnough
			}
			return nil
		})
		if want := []int{7, 6, 7, 6, 7, 6, 7, 6}; !slices.Equal(sizes, want) {
			t.Errorf("sizes %v, want %v", sizes, want)
		}
	})
}

func TestPushErrors(t *testing.T) {
	none := func(pushed) error { return nil }
	if err := pushFile(t.Context(), []byte("not an FLV file"), false, none); err == nil {
		t.Error("a text file was pushed")
	}
	if err := pushFile(t.Context(), smallFile(), true, none); err == nil {
		t.Error("an empty file was looped")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := smallFile(flv.Tag{Type: flv.TypeAudio, Data: []byte{0x2f, 1}}, flv.Tag{Type: flv.TypeAudio, Timestamp: 1 << 30, Data: []byte{0x2f, 1}})
	if err := pushFile(ctx, file, false, none); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}
