package fmp4_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"hawser/fmp4"
	"hawser/media"
)

// pageTimeout is how long Chromium may take to start and to play two seconds.
const pageTimeout = time.Minute

// page appends all segments to one source buffer, plays what is in it, and reports what was seen.
const page = `<!doctype html><video muted></video><script type=module>
const report = o => fetch('/result', {method: 'POST', body: JSON.stringify(o)});
try {
	const all = await (await fetch('/segments')).arrayBuffer(), view = new DataView(all);
	const video = document.querySelector('video'), source = new MediaSource();
	video.src = URL.createObjectURL(source);
	await new Promise(ok => source.onsourceopen = ok);
	const buffer = source.addSourceBuffer(await (await fetch('/mime')).text());
	for (let at = 0, n; at < all.byteLength; at += 4 + n) {
		n = view.getUint32(at);
		await new Promise((ok, bad) => {
			buffer.onupdateend = ok;
			buffer.onerror = () => bad('segment at ' + at + ' was refused');
			buffer.appendBuffer(new Uint8Array(all, at + 4, n));
		});
	}
	source.endOfStream();
	const ranges = Array.from({length: video.buffered.length}, (_, i) => [video.buffered.start(i), video.buffered.end(i)]);
	const end = new Promise((ok, bad) => { video.onended = ok; video.onerror = () => bad(video.error.message); });
	video.currentTime = ranges[0][0];
	await video.play();
	if (ranges.length === 1) await end; // a hole would hold it up for ever
	await report({ranges, ended: video.ended, frames: video.getVideoPlaybackQuality().totalVideoFrames, audio: video.webkitAudioDecodedByteCount});
} catch (e) { await report({error: String(e.message || e)}); }
</script>`

// played is what the page reports.
type played struct {
	Ranges [][2]float64 // what was buffered, in seconds
	Ended  bool         // it was played to its end
	Frames int          // pictures decoded
	Audio  int          // bytes of sound decoded
	Error  string
}

// play lets Chromium play segments through Media Source Extensions.
func play(t *testing.T, mime string, segments [][]byte) played {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is missing")
		}
		t.Skip("chromium is missing")
	}
	var list []byte
	for _, s := range segments {
		list = append(binary.BigEndian.AppendUint32(list, uint32(len(s))), s...)
	}
	result := make(chan played, 1)
	serve := http.NewServeMux()
	for pattern, content := range map[string]string{"/{$}": page, "/mime": mime, "/segments": string(list)} {
		serve.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "page.html", time.Time{}, bytes.NewReader([]byte(content)))
		})
	}
	serve.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		var p played
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			p.Error = err.Error()
		}
		result <- p
	})
	server := httptest.NewServer(serve)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), pageTimeout)
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required",
		"--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), server.URL)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = pageTimeout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	}()
	select {
	case p := <-result:
		return p
	case <-ctx.Done():
		t.Fatal("the page reported nothing")
		return played{}
	}
}

// uncounted is how many of the last pictures Chromium may not have counted yet when it reports the end.
const uncounted = 2

// TestChromium plays the sample whole and with a pause in its pictures, which go on without a keyframe, and one in its sound: no
// picture may be lost, and nothing may hold the player up.
func TestChromium(t *testing.T) {
	between := func(f media.Frame, kind media.Kind, from, to time.Duration) bool {
		return f.Kind == kind && f.DTS >= from && f.DTS < to
	}
	for _, c := range []struct {
		name string
		lost func(media.Frame) bool
	}{
		{"whole", func(media.Frame) bool { return false }},
		{"pauses", func(f media.Frame) bool {
			return between(f, media.Video, 200*ms, 600*ms) || between(f, media.Audio, 1300*ms, 1700*ms)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tracks, all := sample(t)
			var frames []media.Frame
			pictures := 0
			for _, f := range all {
				if f.Config || c.lost(f) {
					continue
				}
				frames = append(frames, f)
				if f.Kind == media.Video {
					pictures++
				}
			}
			init, fragments := mux(t, tracks, frames)
			p := play(t, fmp4.MIME(tracks), append([][]byte{init}, fragments...))
			if p.Error != "" || len(p.Ranges) != 1 || !p.Ended || p.Frames < pictures-uncounted || p.Audio == 0 {
				t.Errorf("got %+v, want one range played to its end with %d pictures", p, pictures)
			}
		})
	}
}

// TestChromiumCodecs plays what browsers decode beside H264 and AAC, as it comes out of Enhanced RTMP bodies.
func TestChromiumCodecs(t *testing.T) {
	args := map[media.Codec]string{}
	for _, c := range encoded {
		args[c.codec] = c.args
	}
	for _, c := range [][2]media.Codec{{media.AV1, media.Opus}, {media.VP9, media.Opus}, {media.VP9, media.FLAC}} {
		t.Run(c[0].String()+" and "+c[1].String(), func(t *testing.T) {
			var tracks []media.Track
			var frames []media.Frame
			for _, codec := range c {
				track, list := dump(t, codec, encode(t, args[codec]))
				one, list := throughFLV(t, track, list)
				tracks, frames = append(tracks, one...), append(frames, list...)
			}
			slices.SortStableFunc(frames, func(a, b media.Frame) int { return cmp.Compare(a.DTS, b.DTS) })
			init, fragments := mux(t, tracks, frames)
			p := play(t, fmp4.MIME(tracks), append([][]byte{init}, fragments...))
			if p.Error != "" || len(p.Ranges) != 1 || !p.Ended || p.Frames < 25-uncounted || p.Audio == 0 {
				t.Errorf("%s: got %+v, want one range played to its end with 25 pictures and sound", fmp4.MIME(tracks), p)
			}
		})
	}
}
