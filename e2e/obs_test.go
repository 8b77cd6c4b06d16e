package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hawser/websocket"
)

// obs is OBS Studio, which runs on a display of its own with a home of its own, and is asked to do things over its WebSocket (obs-websocket, in it since version 28).
type obs struct {
	*program
	conn *websocket.Conn
}

// The files of OBS's home. It plays a clip in a loop, encodes it anew with B-frames and a keyframe every second, and publishes; in the quality "Stream" it records the very packets that it publishes.
const (
	obsGlobal = `[General]
FirstRun=true
LastVersion=486539266
InfoIncrement=1
EnableAutoUpdates=false
ConfirmOnExit=false
[Basic]
Profile=e2e
ProfileDir=e2e
SceneCollection=e2e
SceneCollectionFile=e2e
ConfigOnNewProfile=false
[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort=%d
AlertsEnabled=false
AuthRequired=false
`
	obsProfile = `[General]
Name=e2e
[Output]
Mode=Simple
[SimpleOutput]
FilePath=%s
RecFormat=flv
RecQuality=Stream
VBitrate=500
ABitrate=96
StreamEncoder=x264
UseAdvanced=true
Preset=veryfast
x264Settings=keyint=30 bframes=2
[Video]
BaseCX=320
BaseCY=180
OutputCX=320
OutputCY=180
FPSType=0
FPSCommon=30
[Audio]
SampleRate=48000
ChannelSetup=Stereo
`
)

var displayLine = regexp.MustCompile(`(?m)^(\d+)$`)

// display starts an X server without a screen, which chooses its own number, and returns that as DISPLAY has it.
func display(t *testing.T) string {
	t.Helper()
	x := start(t, "Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp")
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	m, err := x.out.await(ctx, displayLine)
	if err != nil {
		t.Fatalf("Xvfb: %v\n%s", err, x.out)
	}
	return ":" + m[1]
}

// freePort is a port that nobody listened on a moment ago; OBS does not say which one it has chosen.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startOBS starts OBS, which publishes a clip to a path, and records beside that.
func startOBS(t *testing.T, s *server, file, path string) *obs {
	t.Helper()
	need(t, "obs", "Xvfb")
	home := t.TempDir()
	port := freePort(t)
	app, stream := filepath.Split(path)
	object := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	type m = map[string]any
	for name, text := range map[string]string{
		"global.ini":                      fmt.Sprintf(obsGlobal, port),
		"basic/profiles/e2e/basic.ini":    fmt.Sprintf(obsProfile, home),
		"basic/profiles/e2e/service.json": object(m{"type": "rtmp_custom", "settings": m{"server": s.rtmpURL(strings.TrimSuffix(app, "/")), "key": stream}}),
		"basic/scenes/e2e.json": object(m{"name": "e2e", "current_scene": "Scene", "current_program_scene": "Scene", "scene_order": []m{{"name": "Scene"}}, "sources": []m{
			{"id": "ffmpeg_source", "name": "Clip", "settings": m{"is_local_file": true, "local_file": file, "looping": true}},
			{"id": "scene", "name": "Scene", "settings": m{"id_counter": 1, "items": []m{{"name": "Clip", "id": 1, "visible": true}}}},
		}}),
	} {
		name = filepath.Join(home, "config/obs-studio", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("obs", "--startstreaming", "--startrecording", "--minimize-to-tray", "--multi")
	// Mesa draws by itself (llvmpipe, of libgl1-mesa-dri): no graphics card is needed.
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"), "XDG_RUNTIME_DIR="+home, "DISPLAY="+display(t), "LIBGL_ALWAYS_SOFTWARE=1")
	o := &obs{program: startCmd(t, cmd)}
	s.awaitLive(path)
	o.connect(port)
	return o
}

// connect says hello to OBS's WebSocket.
func (o *obs) connect(port int) {
	o.t.Helper()
	url, options := fmt.Sprintf("ws://127.0.0.1:%d", port), &websocket.DialOptions{Subprotocols: []string{"obswebsocket.json"}}
	conn, err := websocket.Dial(o.t.Context(), url, options)
	for deadline := time.Now().Add(startTimeout); err != nil; conn, err = websocket.Dial(o.t.Context(), url, options) {
		if time.Now().After(deadline) {
			o.t.Fatalf("%v\n%s", err, o.out)
		}
		time.Sleep(pollInterval)
	}
	o.t.Cleanup(func() { conn.CloseNow() })
	o.conn = conn
	const hello, identify, identified = 0, 1, 2
	o.read(hello, nil)
	o.write(identify, map[string]any{"rpcVersion": 1, "eventSubscriptions": 0})
	o.read(identified, nil)
}

// obsMessage is what goes over OBS's WebSocket.
type obsMessage struct {
	Op int             `json:"op"`
	D  json.RawMessage `json:"d"`
}

func (o *obs) write(op int, d any) {
	o.t.Helper()
	data, err := json.Marshal(d)
	if err != nil {
		o.t.Fatal(err)
	}
	b, _ := json.Marshal(obsMessage{op, data})
	if err := o.conn.Write(o.t.Context(), websocket.TextMessage, b); err != nil {
		o.t.Fatal(err)
	}
}

// read waits for a message, which must be of this kind.
func (o *obs) read(op int, d any) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), eventTimeout)
	defer cancel()
	_, b, err := o.conn.Read(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	var m obsMessage
	if err := json.Unmarshal(b, &m); err != nil || m.Op != op {
		o.t.Fatalf("OBS says %s, want a message %d: %v", b, op, err)
	}
	if d == nil {
		return
	}
	if err := json.Unmarshal(m.D, d); err != nil {
		o.t.Fatalf("OBS says %s: %v", b, err)
	}
}

// ask makes a request and returns the answer to it.
func (o *obs) ask(request string) (answer struct {
	OutputPath   string
	OutputActive bool
}) {
	o.t.Helper()
	const ask, answers = 6, 7
	o.write(ask, map[string]any{"requestType": request, "requestId": request})
	var r struct {
		RequestID     string
		RequestStatus struct {
			Result  bool
			Comment string
		}
		ResponseData json.RawMessage
	}
	o.read(answers, &r)
	if r.RequestID != request || !r.RequestStatus.Result {
		o.t.Fatalf("OBS answers %+v to %s", r, request)
	}
	if len(r.ResponseData) > 0 {
		if err := json.Unmarshal(r.ResponseData, &answer); err != nil {
			o.t.Fatal(err)
		}
	}
	return answer
}

// stop ends one of the outputs, Stream or Record, and returns the file of the latter.
func (o *obs) stop(what string) string {
	o.t.Helper()
	file := o.ask("Stop" + what).OutputPath
	for deadline := time.Now().Add(stopTimeout); o.ask("Get" + what + "Status").OutputActive; time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			o.t.Fatalf("OBS goes on with its %s after %v\n%s", what, stopTimeout, o.out)
		}
	}
	return file
}

// TestOBSPublishes lets OBS publish to each player that waits for it, and to one that comes late. They get the packets that OBS has recorded.
func TestOBSPublishes(t *testing.T) {
	t.Parallel()
	need(t, "obs", "Xvfb", "ffmpeg")
	s := serve(t, "--grace", "10s")
	const path = "/live/obs"
	players := waitingPlayers(t, s, path)
	o := startOBS(t, s, clip(t, seconds), path)
	s.awaitStream(path, "past its third second", func(l liveStream) bool { return l.Frames > 3*77 })
	late := rtmpPlayers[0].play(t, t.TempDir(), s.rtmpURL(path))
	s.awaitStream(path, "past its fifth second", func(l liveStream) bool { return l.Frames > 5*77 })
	o.stop("Stream")
	l, _ := s.stream(path) // as long as it is there
	recorded := elementaryStreams(t, o.stop("Record"))
	o.kill()
	sent := during(t, recorded, players)
	t.Logf("OBS recorded %d pictures, and published %d of them: %d frames with the sound", len(recorded["video"]), len(sent["video"]), l.Frames)
	if n := len(sent["video"]) + len(sent["audio"]); n > int(l.Frames) || n < int(l.Frames)-maxEarlySound {
		t.Errorf("the recording has %d frames of the time of the stream, the server had %d", n, l.Frames)
	}
	// OBS begins the time of the sound anew in each of its outputs, up to a frame from where the pictures do.
	check(t, players, sent, aacFrame)
	checkLate(t, late, sent, aacFrame)
}

// during is the part of a recording that was published: it may begin before and end after that. The players must have all that there is between what the first of them has first and last.
func during(t *testing.T, recorded elementary, players []played) elementary {
	t.Helper()
	players[0].wait()
	got := elementaryStreams(t, players[0].path)
	part := elementary{}
	for kind, list := range got {
		first := nearest(recorded[kind], list[0], recorded[kind][0].dts)
		last := nearest(recorded[kind], list[len(list)-1], recorded[kind][len(recorded[kind])-1].dts)
		if first < 0 || last < first {
			t.Fatalf("%s: %v to %v was played, and is not in the recording", kind, list[0], list[len(list)-1])
		}
		part[kind] = recorded[kind][first : last+1]
	}
	return part
}
