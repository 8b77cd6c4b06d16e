package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// unit is an access unit of an elementary stream: a picture's slices, or a frame of sound. What containers add of their own (parameter sets, delimiters, headers of ADTS) is left out,
// so that the same unit has the same sum in every container.
type unit struct {
	dts, pts time.Duration
	sum      string
}

func (u unit) String() string { return fmt.Sprintf("%.8s at %v, %v", u.sum, u.dts, u.pts) }

// elementary are the units of a file, by kind, in the order of the file.
type elementary map[string][]unit

// elementaryStreams reads a file of H264 and AAC.
func elementaryStreams(t *testing.T, file string) elementary {
	t.Helper()
	args := []string{"-v", "error", "-copyts", "-i", file, "-map", "0:v:0", "-map", "0:a:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb,filter_units=remove_types=6-9"}
	said := start(t, "ffmpeg", append(args, "-f", "framehash", "-hash", "md5", "-")...).wait()
	kinds := [2]string{"video", "audio"}
	var base [2]time.Duration // of a tick, in its denominator
	read := elementary{}
	for line := range strings.Lines(said) {
		if rest, ok := strings.CutPrefix(line, "#tb "); ok { // "0: 1/1000"
			track, fraction, _ := strings.Cut(rest, ": 1/")
			base[number(t, track)] = time.Duration(number(t, fraction))
			continue
		}
		words := strings.Split(line, ",")
		if strings.HasPrefix(line, "#") || len(words) < 6 {
			continue
		}
		track := number(t, words[0])
		at := func(word string) time.Duration { return time.Duration(number(t, word)) * time.Second / base[track] }
		read[kinds[track]] = append(read[kinds[track]], unit{at(words[1]), at(words[2]), strings.TrimSpace(words[5])})
	}
	return read
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// quirks are what a player does of its own to what it plays.
type quirks struct {
	video, audio int           // how many units it may lack at the end, because it keeps what it holds when its stream ends
	settles      int           // it makes up the times of so many units of each kind at the beginning
	jitter       time.Duration // what its times may be off by; 0 means rounding
}

func (q quirks) jittered(by time.Duration) quirks {
	q.jitter = max(q.jitter, by)
	return q
}

// rounding is what a time in milliseconds may be off by beside one in ticks of a container or in nanoseconds.
const rounding = time.Millisecond

// compare checks that got is what want is from its picture number first on, to its end: the same units in the same order with the same times from each other, sound and
// pictures in step.
func (got elementary) compare(t *testing.T, want elementary, first int, q quirks) {
	t.Helper()
	q.jitter = max(q.jitter, rounding)
	gotV, gotA, wantV, wantA := got["video"], got["audio"], want["video"][first:], want["audio"]
	if n := q.settles; len(gotV) <= n || len(gotA) <= n || len(wantV) <= n || len(wantA) <= n {
		t.Errorf("got %d pictures and %d frames of sound, want %d and %d", len(gotV), len(gotA), len(wantV), len(wantA))
		return
	}
	later := gotV[q.settles].dts - wantV[q.settles].dts
	skip := nearest(wantA, gotA[0], gotA[q.settles].dts-later-wantA[q.settles].dts+wantA[0].dts)
	if skip < 0 {
		t.Errorf("the first frame of sound, %v, was not published", gotA[0])
		return
	}
	if first == 0 && skip > maxEarlySound || first > 0 && wantA[skip].dts > wantV[0].dts+maxLateSound {
		t.Errorf("the sound begins with number %d at %v, the pictures at %v", skip, wantA[skip].dts, wantV[0].dts)
	}
	same(t, "picture", gotV, wantV, later, q.video, q)
	same(t, "frame of sound", gotA, wantA[skip:], later, q.audio, q)
}

const (
	maxEarlySound = 2                     // frames of sound that come before the first picture, which players that wait for one do not get
	maxLateSound  = 50 * time.Millisecond // until a player that joins at a keyframe has its first sound
)

// same compares units of one kind, whose times are later by so much and of which some may lack at the end.
func same(t *testing.T, kind string, got, want []unit, later time.Duration, less int, q quirks) {
	t.Helper()
	if len(got) > len(want) || len(got) < len(want)-less {
		t.Errorf("%d times a %s, want %d (up to %d less)", len(got), kind, len(want), less)
	}
	sums, times := 0, 0
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g.sum != w.sum {
			if sums++; sums == 1 {
				t.Errorf("%s %d is %v, want %v", kind, i, g, w)
			}
			continue
		}
		if i >= q.settles && ((g.dts-w.dts-later).Abs() > q.jitter || (g.pts-w.pts-later).Abs() > q.jitter) {
			if times++; times == 1 {
				t.Errorf("%s %d has the times %v and %v, want %v and %v", kind, i, g.dts, g.pts, w.dts+later, w.pts+later)
			}
		}
	}
	if sums+times > 0 {
		t.Errorf("%s: %d of %d differ, and the times of %d", kind, sums, len(got), times)
	}
}

// nearest is the number of the unit with the same sum as u whose time is nearest to at, or -1.
func nearest(list []unit, u unit, at time.Duration) int {
	best := -1
	for i, w := range list {
		if w.sum == u.sum && (best < 0 || (w.dts-at).Abs() < (list[best].dts-at).Abs()) {
			best = i
		}
	}
	return best
}
