package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/stream"
)

// recorded writes an FLV file as a recording does, with n frames of the clip, and new parameters at a frame.
func recorded(t testing.TB, n, change int) (b []byte, frames []media.Frame) {
	t.Helper()
	c := newContainer(FLV, &Options{MaxKeyframes: DefaultMaxKeyframes})
	tracks, all := clip(t)
	b, err := c.begin(nil, tracks)
	if err != nil {
		t.Fatal(err)
	}
	length := all[len(all)-1].DTS + 40*time.Millisecond
	for i := range n {
		f := all[i%len(all)]
		f.DTS += time.Duration(i/len(all)) * length
		f.PTS += time.Duration(i/len(all)) * length
		if i == change {
			b, _ = c.change(b, tracks[:1], f.DTS)
		}
		if b, err = c.frame(b, &tracks[slices.IndexFunc(tracks, func(t media.Track) bool { return t.ID == f.Track })], f); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return b, frames
}

// keep writes a file into a folder.
func keep(t testing.TB, name string, b []byte) *Folder {
	t.Helper()
	r, err := New(Options{Dir: t.TempDir()}, stream.NewHub(stream.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.opts.Dir, filepath.FromSlash(name))
	os.MkdirAll(filepath.Dir(file), 0o755)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return r.Folder()
}

// readAll reads what is left.
func readAll(t testing.TB, r Reader) (frames []media.Frame, scripts int) {
	t.Helper()
	var d flv.Demuxer
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return frames, scripts
		}
		if err != nil {
			t.Fatal(err)
		}
		if tag.Type == flv.TypeScript {
			scripts++
		}
		f, _, ok, err := d.Feed(tag.Type, tag.Timestamp, tag.Data)
		if err != nil {
			t.Fatal(err)
		}
		if ok && !f.Config {
			frames = append(frames, f)
		}
	}
}

// hvcc is what x265 wrote for 160x90.
const hvcc = "0101600000009000000000001ef000fcfdf8f800000f03" + "200001001840010c01ffff01600000030090000003000003001e959009" +
	"210001002a42010101600000030090000003000003001ea0142061f26595912930bc05a02000000300200000030321" + "22000100064401c073c189"

// TestColors records a track whose colour is said beside its codec's parameters: it is in the file, and again after a seek, and nobody takes it for a keyframe.
func TestColors(t *testing.T) {
	config, err := hex.DecodeString(hvcc)
	if err != nil {
		t.Fatal(err)
	}
	track := media.Track{ID: flv.VideoTrack, Kind: media.Video, Codec: media.HEVC, Width: 160, Height: 90, Config: config}
	track.Color = media.Color{Primaries: 9, Transfer: 16, Matrix: 9, MaxCLL: 1000, MaxFALL: 400}
	c := newContainer(FLV, &Options{MaxKeyframes: DefaultMaxKeyframes})
	b, err := c.begin(nil, []media.Track{track})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		at := time.Duration(i) * 40 * time.Millisecond
		if i == 25 {
			track.Color.MaxCLL = 2000
			b, _ = c.change(b, []media.Track{track}, at)
		}
		if b, err = c.frame(b, &track, media.Frame{Track: track.ID, Kind: media.Video, Key: i%10 == 0, DTS: at, PTS: at, Data: []byte{0, 0, 0, 3, 0x26, 1, byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := keep(t, "a.flv", b).Play("a.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for to, want := range map[time.Duration]float64{0: 1000, 900 * time.Millisecond: 1000, 1300 * time.Millisecond: 2000} {
		if at := r.Seek(to); at != to.Truncate(400*time.Millisecond) {
			t.Errorf("%v: went to %v", to, at)
		}
		var d flv.Demuxer
		for range 3 { // one of them is metadata, or none
			tag, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := d.Feed(tag.Type, tag.Timestamp, tag.Data); err != nil {
				t.Fatal(err)
			}
		}
		if tracks := d.Tracks(); len(tracks) != 1 || tracks[0].Color.MaxCLL != want || tracks[0].Color.MaxFALL != 400 || tracks[0].Codec != media.HEVC {
			t.Errorf("%v: tracks %+v, want %v", to, tracks, want)
		}
	}
}

func TestSeek(t *testing.T) {
	b, frames := recorded(t, 600, 300)
	folder := keep(t, "a.flv", append(b, "torn"...))
	r, err := folder.Play("a.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, scripts := readAll(t, r); len(got) != 600 || scripts != 1 {
		t.Fatalf("%d frames, %d messages of metadata", len(got), scripts)
	}
	if r.Length() != newestOf(frames) {
		t.Errorf("length %v, want %v", r.Length(), newestOf(frames))
	}
	for _, to := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond, time.Second, 1001 * time.Millisecond, 5500 * time.Millisecond, r.Length(), time.Hour, -1} {
		want := 0
		for i, f := range frames {
			if f.Kind == media.Video && f.Key && f.DTS <= to && to > 0 {
				want = i
			}
		}
		at := r.Seek(to)
		if place := r.Place(to); place != at || to > 0 && at != frames[want].DTS {
			t.Errorf("%v: went to %v, Place says %v, want %v", to, at, place, frames[want].DTS)
		}
		got, _ := readAll(t, r)
		if len(got) != 600-want {
			t.Errorf("%v: %d frames, want %d", to, len(got), 600-want)
			continue
		}
		for i, f := range got {
			if w := frames[want+i]; f.DTS != w.DTS || !bytes.Equal(f.Data, w.Data) {
				t.Fatalf("%v: frame %d is at %v, want %v", to, i, f.DTS, w.DTS)
			}
		}
	}
}

// A player that begins in the middle gets the metadata, with the duration of a file that was never completed, and the parameters with the time of the keyframe.
func TestSeekFirst(t *testing.T) {
	b, frames := recorded(t, 300, 0)
	folder := keep(t, "a.flv", b)
	r, err := folder.Play("a.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := r.Seek(3 * time.Second)
	script, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	info, ok, err := flv.ParseMetadata(script.Data)
	if err != nil || !ok || info.Values.Number("duration") != newestOf(frames).Seconds() {
		t.Errorf("metadata: %+v, %v", info, err)
	}
	for range 2 {
		tag, err := r.Next()
		if err != nil || time.Duration(tag.Timestamp)*time.Millisecond != at || tag.Data[1] != 0 {
			t.Errorf("got a tag of type %d at %d, %v; want parameters at %v", tag.Type, tag.Timestamp, err, at)
		}
	}
}

// However many keyframes there are, the index is bounded and a seek goes to one of them that is not behind the time.
func TestIndexIsBounded(t *testing.T) {
	b, _ := recorded(t, 138*20, 0)
	for _, most := range []int{2, 3, 10, 1000} {
		x, err := scan(bytes.NewReader(b), int64(len(b)), most)
		if err != nil || len(x.places) > most || len(x.places) < min(most, 40)/2 {
			t.Errorf("%d: %v, %d places", most, err, len(x.places))
			continue
		}
		for to := time.Duration(0); to < x.length; to += 333 * time.Millisecond {
			if p, _ := x.at(to); p.at > to {
				t.Errorf("%d: %v: goes to %v", most, to, p.at)
			}
		}
	}
}

// Sound alone can be sought too, about to the second.
func TestSeekSound(t *testing.T) {
	c := newContainer(FLV, &Options{})
	tracks, all := clip(t)
	all = slices.DeleteFunc(all, func(f media.Frame) bool { return f.Kind != media.Audio })
	b, _ := c.begin(nil, tracks[1:])
	for _, f := range all {
		b, _ = c.frame(b, &tracks[1], f)
	}
	r, err := keep(t, "a.flv", b).Play("a.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if at := r.Seek(1500 * time.Millisecond); at < 900*time.Millisecond || at > 1500*time.Millisecond {
		t.Errorf("went to %v", at)
	}
}

func TestPlayWhatIsNone(t *testing.T) {
	folder := keep(t, "a/b.flv", []byte("not FLV at all"))
	os.WriteFile(filepath.Join(folder.opts.Dir, "c.mp4"), []byte("x"), 0o600)
	var syntax *flv.SyntaxError
	if _, err := folder.Play("a/b.flv"); !errors.As(err, &syntax) {
		t.Errorf("garbage: got %v", err)
	}
	if _, err := folder.Play("c.mp4"); !errors.Is(err, errNoMP4) {
		t.Errorf("MP4: got %v", err)
	}
	for _, name := range []string{"none.flv", "a", "../x.flv", "/etc/passwd", "", "a\x00.flv", "a/../c.mp4"} {
		if _, err := folder.Open(name); !errors.Is(err, lifecycle.ReasonNotFound) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// The index is made once, and again when the file has grown.
func TestIndexIsRemembered(t *testing.T) {
	b, _ := recorded(t, 138, 0)
	folder := keep(t, "a.flv", b)
	folder.opts.MaxIndexes = 2
	play := func(name string) *index {
		r, err := folder.Play(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.(*flvReader).x
	}
	first := play("a.flv")
	if play("a.flv") != first {
		t.Error("made twice")
	}
	for _, name := range []string{"b.flv", "c.flv", "d.flv"} {
		os.WriteFile(filepath.Join(folder.opts.Dir, name), b, 0o600)
		play(name)
	}
	if len(folder.indexes) != 2 {
		t.Errorf("%d are kept", len(folder.indexes))
	}
	more, _ := recorded(t, 200, 0)
	last := play("d.flv")
	os.WriteFile(filepath.Join(folder.opts.Dir, "d.flv"), more, 0o600)
	if x := play("d.flv"); x == last || x.length <= last.length {
		t.Error("the file has grown, its index has not")
	}
}

func TestFind(t *testing.T) {
	folder := keep(t, "live/a/20260101T000000Z.flv", nil)
	for _, name := range []string{"20260101T000000Z~2.flv", "20260101T000000Z~10.flv", "20251231T235959Z.flv", "zzz.flv", "20270101T000000Z.mp4", "20260101T000000Z~10.flv.part"} {
		os.WriteFile(filepath.Join(folder.opts.Dir, "live/a", name), nil, 0o600)
	}
	os.WriteFile(filepath.Join(folder.opts.Dir, "live/a.mp4"), nil, 0o600)
	for p, want := range map[string]string{
		"/live/a":                      "live/a.mp4",
		"/live/a/20251231T235959Z":     "live/a/20251231T235959Z.flv",
		"/live/a/20251231T235959Z.flv": "live/a/20251231T235959Z.flv",
		"/live/a/20270101T000000Z":     "live/a/20270101T000000Z.mp4",
		"/live":                        "",
		"/../live/a":                   "",
		"/live/b":                      "",
	} {
		got, err := folder.Find(p)
		if got != want || want == "" && !errors.Is(err, lifecycle.ReasonNotFound) {
			t.Errorf("%s: got %q, %v, want %q", p, got, err, want)
		}
	}
	os.Remove(filepath.Join(folder.opts.Dir, "live/a.mp4"))
	if got, err := folder.Find("/live/a"); got != "live/a/20260101T000000Z~10.flv" {
		t.Errorf("the newest: got %q, %v", got, err)
	}
	if files, _, err := folder.List("/live/a", "", 0); err != nil || len(files) != 5 {
		t.Errorf("the stream's files: %+v, %v", files, err)
	}
}

// Names stay in the folder, whatever the path, and those of different paths differ.
func TestNames(t *testing.T) {
	o, _ := Options{}.filled()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seen := map[string]string{}
	for p, want := range map[string]string{
		"/live/a":                "live/a/20260102T030405Z.flv",
		"/live/ü ö":              "live/ü ö/20260102T030405Z.flv",
		"/live/../../etc/passwd": "live/%2E%2E/%2E%2E/etc/passwd/20260102T030405Z.flv",
		"/./a":                   "%2E/a/20260102T030405Z.flv",
		"/.hidden":               "%2Ehidden/20260102T030405Z.flv",
		"/a\x00b\n":              "a%00b%0A/20260102T030405Z.flv",
		"/a\\..\\b":              "a%5C..%5Cb/20260102T030405Z.flv",
		"/C:/x":                  "C%3A/x/20260102T030405Z.flv",
		"/{time}/{ext}":          "%7Btime%7D/%7Bext%7D/20260102T030405Z.flv",
		"/a%2F":                  "a%252F/20260102T030405Z.flv",
		"/bad\xff\xfeutf":        "bad%FF%FEutf/20260102T030405Z.flv",
		"/a~2":                   "a%7E2/20260102T030405Z.flv",
		"/dot.":                  "dot%2E/20260102T030405Z.flv",
	} {
		n, err := o.naming(p, FLV)
		if err != nil {
			t.Errorf("%q: %v", p, err)
			continue
		}
		got := n.name(at, 0)
		if got != want || seen[got] != "" || !filepath.IsLocal(got) {
			t.Errorf("%q: got %q, want %q", p, got, want)
		}
		seen[got] = p
	}
	long := strings.Repeat("ü", 200)
	a, _ := o.naming("/"+long+"a", FLV)
	b, _ := o.naming("/"+long+"b", FLV)
	if a.dir == b.dir || len(a.dir) > maxPart || len(b.dir) > maxPart {
		t.Errorf("long paths: %q and %q", a.dir, b.dir)
	}
	for _, p := range []string{"", "/", "//a", "/a//b", "/" + strings.Repeat("a/", 1000) + "a"} {
		if n, err := o.naming(p, FLV); err == nil {
			t.Errorf("%.20q: got %q", p, n.dir)
		}
	}
}

// A link in the folder leads nowhere.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Patterns: []string{"/**"}}, stream.Options{})
		defer r.Close()
		outside := t.TempDir()
		os.Symlink(outside, filepath.Join(r.dir, "live"))
		r.publish(live).write(20)
		if got := r.events(); len(got) != 1 || !strings.HasPrefix(got[0], "record_error") {
			t.Errorf("got %q", got)
		}
		if entries, _ := os.ReadDir(outside); len(entries) != 0 {
			t.Errorf("wrote %v outside", entries)
		}
	})
}

// What is appended is one file to ffmpeg, whose times never go back.
func TestAppendedFilesPlay(t *testing.T) {
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Skip("ffprobe is not installed")
	}
	var r *rig
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r = newRig(t, Options{Dir: dir, Formats: all.Formats}, stream.Options{Grace: -1})
		defer r.Close()
		for range 3 {
			p := r.publish(live)
			r.Start(live, Request{Mode: Append})
			p.write(130)
			p.Close(lifecycle.ReasonDone)
			time.Sleep(time.Minute)
		}
	})
	for _, ext := range []string{"flv", "mp4"} {
		b := r.files(ext)
		if len(b) != 1 {
			t.Fatalf("%d %s files", len(b), ext)
		}
		name := filepath.Join(t.TempDir(), "a."+ext)
		os.WriteFile(name, b[0], 0o600)
		out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "packet=stream_index,dts_time", "-of", "csv=p=0", name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		last, n := map[string]float64{}, 0
		for line := range strings.Lines(string(out)) {
			words := strings.Split(strings.TrimSpace(line), ",")
			if len(words) < 2 {
				continue // behind new parameters
			}
			at, err := strconv.ParseFloat(words[1], 64)
			if before, ok := last[words[0]]; err != nil || ok && at <= before {
				t.Fatalf("%s: %q after %v", ext, line, before)
			}
			last[words[0]], n = at, n+1
		}
		if n != 3*130 {
			t.Errorf("%s: %d packets, want %d", ext, n, 3*130)
		}
	}
}

func FuzzScan(f *testing.F) {
	b, _ := recorded(f, 30, 10)
	f.Add(b, int64(len(b)))
	f.Add(b[:len(b)-7], int64(len(b)))
	f.Add([]byte("FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00\x12\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00"), int64(1<<40))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		x, err := scan(bytes.NewReader(b), size, 16)
		if err != nil {
			return
		}
		if len(x.places) > 16 || len(x.headers) > maxChanges || x.end > max(size, x.begin) {
			t.Errorf("%d places, %d parameters, ends at %d of %d", len(x.places), len(x.headers), x.end, size)
		}
		r := &flvReader{f: readerOf(b), x: x, offset: x.begin}
		for i := range 100 {
			if _, err := r.Next(); err != nil {
				break
			}
			if i%10 == 9 {
				r.Seek(time.Duration(i) * time.Second)
			}
		}
	})
}

// bytesFile is bytes as a file.
type bytesFile struct{ *bytes.Reader }

func readerOf(b []byte) bytesFile { return bytesFile{bytes.NewReader(b)} }

func (bytesFile) Close() error               { return nil }
func (bytesFile) Stat() (os.FileInfo, error) { return nil, os.ErrInvalid }

func FuzzFragments(f *testing.F) {
	c := &fmp4File{}
	tracks, all := clip(f)
	b, err := c.begin(nil, tracks)
	if err != nil {
		f.Fatal(err)
	}
	from := len(b)
	for _, frame := range all[:20] {
		b, _ = c.frame(b, nil, frame)
	}
	f.Add(b, int64(from), int64(len(b)))
	f.Add(b, int64(0), int64(1<<50))
	f.Fuzz(func(t *testing.T, b []byte, from, size int64) {
		scales, err := timescales(b)
		if err != nil || from < 0 || size < from {
			return
		}
		if end, newest, err := fragments(bytes.NewReader(b), from, size, scales); err == nil && (end < from || end > size || newest < 0) {
			t.Errorf("ends at %d of %d, at %v", end, size, newest)
		}
	})
}
