package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/e2e/lab"
)

// fault is a thing that happens to a network while a browser watches with the product's client: a row of docs/network-lab.md.
type fault struct {
	name   string
	before bool // it is there before anybody connects
	lab    lab.Options
	args   []string // of the server
	strike func(n *lab.Network) error
	heal   func(n *lab.Network) error // nil: it stays
	last   time.Duration              // until it is healed
	rest   time.Duration              // how long is looked on after that
	// What must be true: the states of the server and of the browser, in this order among others; the longest freeze of the picture; and what brings it at the end.
	server, browser string
	freeze          time.Duration
	shows           string
}

func broken(rules ...string) func(*lab.Network) error {
	return func(n *lab.Network) error { return n.Break(rules...) }
}

const (
	back    = 25 * time.Second        // until WebRTC has come back, under its back-off
	blocked = 2500 * time.Millisecond // the longest freeze when UDP is blocked in mid-play
	again   = 5500 * time.Millisecond // the longest freeze after a link is up again: the carrier, and the session's own back-off
)

var faults = []fault{
	{name: "none", strike: (*lab.Network).Heal, rest: 5 * time.Second, freeze: time.Second, shows: "webrtc", server: "new checking connected completed", browser: "new checking connected"},
	{name: "UDP blocked from the start, ICE over UDP only", before: true, args: udpOnly, strike: broken(lab.NoUDP), rest: 8 * time.Second, freeze: blocked, shows: "websocket",
		server: "new checking closed new checking", browser: "new checking closed new checking"},
	{name: "UDP blocked from the start", before: true, strike: broken(lab.NoUDP), rest: 8 * time.Second, freeze: blocked, shows: "webrtc", server: "new checking connected completed", browser: "new checking connected"},
	{name: "UDP cut in mid-play, ICE over UDP only", args: udpOnly, strike: broken(lab.NoUDP), rest: 15 * time.Second, freeze: blocked, shows: "websocket",
		server: "completed closed new checking closed", browser: "connected closed new checking closed"},
	{name: "UDP cut in mid-play", strike: broken(lab.NoUDP), rest: 15 * time.Second, freeze: blocked, shows: "webrtc", server: "completed connected completed", browser: "connected"},
	{name: "UDP cut for 8 s, ICE over UDP only", args: udpOnly, strike: broken(lab.NoUDP), heal: (*lab.Network).Heal, last: 8 * time.Second, rest: back, freeze: blocked, shows: "webrtc",
		server: "completed closed new checking connected completed", browser: "connected closed new checking connected"},
	{name: "UDP lost on the way to the client, ICE over UDP only", args: udpOnly, strike: broken(lab.NoUDPToClient), heal: (*lab.Network).Heal, last: 8 * time.Second, rest: back, freeze: blocked, shows: "webrtc",
		server: "completed closed new checking connected completed", browser: "connected closed new checking connected"},
	{name: "UDP lost on the way to the server, ICE over UDP only", args: udpOnly, strike: broken(lab.NoUDPToServer), heal: (*lab.Network).Heal, last: 12 * time.Second, rest: back, freeze: blocked, shows: "webrtc",
		server: "completed disconnected closed new checking connected completed", browser: "connected closed new checking connected"},
	{name: "link down for 3 s", strike: (*lab.Network).Down, heal: (*lab.Network).Up, last: 3 * time.Second, rest: 15 * time.Second, freeze: 3*time.Second + again, shows: "webrtc",
		server: "completed disconnected connected completed", browser: "connected"},
	{name: "link down for 10 s", strike: (*lab.Network).Down, heal: (*lab.Network).Up, last: 10 * time.Second, rest: back, freeze: 10*time.Second + again, shows: "webrtc",
		server: "completed disconnected connected completed", browser: "connected disconnected connected"},
	{name: "link down for 40 s", strike: (*lab.Network).Down, heal: (*lab.Network).Up, last: 40 * time.Second, rest: back, freeze: 40*time.Second + again, shows: "webrtc",
		server: "completed disconnected failed connected completed", browser: "connected disconnected connected"},
	{name: "the client's address changes", strike: readdress, rest: 15 * time.Second, freeze: again, shows: "webrtc", server: "completed connected completed", browser: "connected"},
	{name: "100 ms each way and 5 % loss", before: true, lab: lab.Options{Line: &lab.Line{Delay: 100 * time.Millisecond, Loss: 0.05, Seed: 1}}, rest: 20 * time.Second, freeze: blocked, shows: "webrtc",
		server: "new checking connected completed", browser: "new checking connected"},
}

var udpOnly = []string{"--rtc-tcp", ""} // ICE is over TCP too, unless told otherwise

func readdress(n *lab.Network) error { return n.Readdress(netip.MustParseAddr("10.77.2.9")) }

// labSeen is what a browser says of a player of the product.
type labSeen struct {
	Shows    string // what brings the picture
	State    string // of the player
	States   []iceState
	Switches []struct {
		At      int64
		To, Why string
	}
	Data    received
	Picture struct {
		Changes  int
		Freeze   int64 // ms
		FrozenAt int64
	}
	Stats struct {
		WebRTC struct{ Phase, Detail string }
	}
	Video struct{ FramesReceived, FramesDecoded, PacketsLost, NackCount int }
}

// labRow is what is printed of a fault.
type labRow struct {
	name                      string
	server, browser, switches string
	freeze                    time.Duration
	published, lost           int
}

// TestNetworkLab breaks the network while a browser watches, in every way of the table. HAWSER_LAB=FILE has it written.
func TestNetworkLab(t *testing.T) {
	var mu sync.Mutex
	rows := make([]*labRow, len(faults)+len(deaths))
	t.Cleanup(func() {
		if file := os.Getenv("HAWSER_LAB"); file != "" && !t.Failed() && !t.Skipped() {
			writeLab(t, file, rows)
		}
	})
	for i := range faults {
		f := &faults[i]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			row := f.run(t)
			mu.Lock()
			defer mu.Unlock()
			rows[i] = row
		})
	}
	for i, d := range deaths {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			row := d.run(t)
			mu.Lock()
			defer mu.Unlock()
			rows[len(faults)+i] = row
		})
	}
}

const labPath = "/live/cam"

// run lets it happen.
func (f *fault) run(t *testing.T) *labRow {
	n, s := network(t, f.lab, f.args...)
	publish(t, s, clip(t, seconds), labPath, "-stream_loop", "-1", "-an") // WebRTC carries no AAC
	s.awaitLive(labPath)
	page := open(t, n.Client, "chromium")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if f.before && f.strike != nil {
		must(f.strike(n))
	}
	began := time.Now()
	page.do("watch", map[string]any{"server": s.url(""), "path": labPath, "log": "/log", "shows": f.first()}, new(struct{}))
	data := s.publishing("/log")
	if !f.before {
		page.do("mark", nil, new(struct{}))
		began = time.Now()
		must(f.strike(n))
	}
	if f.heal != nil {
		time.Sleep(f.last)
		must(f.heal(n))
	}
	time.Sleep(f.rest)
	f.settle(page, s, began)
	sent := data()
	var w labSeen
	page.do("whole", map[string]any{"n": sent}, &w)
	row := &labRow{name: f.name, freeze: time.Duration(w.Picture.Freeze) * time.Millisecond, published: sent, lost: sent - w.Data.Updates}
	var server, browser []string
	row.server, server = s.iceCourse(began)
	row.browser, browser = w.course(began)
	for _, x := range w.Switches {
		row.switches += fmt.Sprintf("%s %s: %s<br>", after(began, time.UnixMilli(x.At)), x.To, x.Why)
	}
	t.Logf("server: %s", row.server)
	t.Logf("browser: %s", row.browser)
	t.Logf("switches: %s", row.switches)
	t.Logf("frozen for %v at most, %s; %d messages, %+v; %+v", row.freeze, after(began, time.UnixMilli(w.Picture.FrozenAt)), sent, w.Data, w.Video)
	f.check(t, &w, server, browser)
	w.Data.check(t, sent)
	s.checkViews(f.shows)
	return row
}

// settle waits until what must come has come, where a busy machine takes longer for it.
func (f *fault) settle(page *browser, s *server, began time.Time) {
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); time.Sleep(10 * pollInterval) {
		var w labSeen
		page.do("shown", nil, &w)
		if _, words := s.iceCourse(began); w.Shows == f.shows && course(words, strings.Fields(f.server)...) {
			return
		}
	}
}

// longest is how long the picture may be frozen. That holds for UDP that is blocked in mid-play, always. Of the others, where no table is made, the machine may be busy, and three times as long is in order.
func (f *fault) longest() time.Duration {
	if os.Getenv("HAWSER_LAB") != "" || f.freeze == blocked && !f.before {
		return f.freeze
	}
	if f.freeze < f.last {
		return 3 * f.freeze
	}
	return f.last + 3*(f.freeze-f.last)
}

// check checks what must be true.
func (f *fault) check(t *testing.T, w *labSeen, server, browser []string) {
	t.Helper()
	if !course(server, strings.Fields(f.server)...) {
		t.Errorf("the server's states are %v, want %s among them", server, f.server)
	}
	if !course(browser, strings.Fields(f.browser)...) {
		t.Errorf("the browser's states are %v, want %s among them", browser, f.browser)
	}
	if freeze := time.Duration(w.Picture.Freeze) * time.Millisecond; freeze > f.longest() {
		t.Errorf("the picture was frozen for %v, want at most %v", freeze, f.longest())
	}
	if w.Shows != f.shows {
		t.Errorf("the picture comes by %s at the end, want %s", w.Shows, f.shows)
	}
	// Frames that are on their way, or wait for what is sent again, are no loss.
	if v := w.Video; f.lab.Line != nil && (v.NackCount == 0 || float64(v.FramesDecoded) < 0.8*float64(v.FramesReceived)) {
		t.Errorf("%d of %d frames decoded after %d requests to send again", v.FramesDecoded, v.FramesReceived, v.NackCount)
	}
}

// checkViews checks that the server's log has how the browser saw the last connection.
func (s *server) checkViews(shows string) {
	s.t.Helper()
	var conn string
	var views []string
	for _, e := range s.events() {
		switch {
		case e.Protocol != "rtc":
		case e.Conn != conn:
			conn, views = e.Conn, nil
		case e.Kind == "view":
			views = append(views, e.State)
		}
	}
	want := []string{"checking"}
	if shows == "webrtc" {
		want = append(want, "connected")
	}
	if !course(views, want...) {
		s.t.Errorf("the browser's views of the last connection, %s, are %v, want %v among them", conn, views, want)
	}
}

// first is what must bring the picture before the network is broken.
func (f *fault) first() string {
	if f.before {
		return ""
	}
	return "webrtc"
}

// death is the end of a player that says nothing.
type death struct {
	name string
	// other has it be aiortc by WHEP, not Chromium with a session.
	other  bool
	strike func(n *lab.Network) error
	within time.Duration // the server has noticed
}

var deaths = []death{
	{name: "the browser is killed", strike: func(n *lab.Network) error { return n.Client.Kill() }, within: 2 * time.Minute},
	{name: "a WHEP player is killed", other: true, strike: func(n *lab.Network) error { return n.Client.Kill() }, within: 2 * time.Minute},
	{name: "the browser's machine is gone", strike: broken(lab.Nothing), within: 2 * time.Minute},
}

// run lets it happen: only the server is left to tell.
func (d *death) run(t *testing.T) *labRow {
	n, s := network(t, lab.Options{})
	publish(t, s, clip(t, seconds), labPath, "-stream_loop", "-1", "-an")
	s.awaitLive(labPath)
	if d.other {
		peer(t, n.Client, "aiortc_peer.py", "play", s.url(labPath+"/whep"), "H264", "600")
	} else {
		page := open(t, n.Client, "chromium")
		page.do("watch", map[string]any{"server": s.url(""), "path": labPath, "log": "/log", "shows": "webrtc"}, new(struct{}))
	}
	s.awaitEvent("the pair has settled", func(e event) bool { return e.Protocol == "rtc" && e.State == "completed" })
	began := time.Now()
	if err := d.strike(n); err != nil {
		t.Fatal(err)
	}
	var gone event
	for deadline := began.Add(d.within); gone.Kind == "" && time.Now().Before(deadline); time.Sleep(pollInterval) {
		if i := slices.IndexFunc(s.events(), func(e event) bool { return e.Protocol == "rtc" && e.Kind == "close" && e.Time.After(began) }); i >= 0 {
			gone = s.events()[i]
		}
	}
	text, words := s.iceCourse(began)
	t.Logf("server: %s", text)
	if gone.Kind == "" || !course(words, "completed", "disconnected", "failed", "closed") {
		t.Errorf("the server's states are %v after %v, want disconnected, failed and closed", words, d.within)
	}
	s.awaitStream(labPath, "without viewers", func(l liveStream) bool { return l.Viewers == 0 })
	return &labRow{name: d.name, server: text}
}

// publishing sends {"i":0}, {"i":1} and so on to a log, until the function that it returns is called; that says how many there were.
func (s *server) publishing(path string) func() int {
	stop, done := make(chan struct{}), make(chan int)
	client := &http.Client{Transport: &http.Transport{DialContext: s.host.Dial}, Timeout: startTimeout}
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		defer client.CloseIdleConnections()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-stop:
				done <- i
				return
			}
			r, err := client.Post(s.httpURL("/api/v1/subjects"+path), "application/json", bytes.NewReader(fmt.Appendf(nil, `{"i":%d}`, i)))
			if err != nil {
				s.t.Errorf("publish: %v", err)
				continue
			}
			if r.Body.Close(); r.StatusCode != http.StatusOK {
				s.t.Errorf("publish: %s", r.Status)
			}
		}
	}()
	return sync.OnceValue(func() int { close(stop); return <-done })
}

// after is a time as seconds after another.
func after(began, at time.Time) string { return fmt.Sprintf("%+.1f s", at.Sub(began).Seconds()) }

// courses are states with their times, each connection's on a line of its own.
type courses[K comparable] struct {
	order []K
	lines map[K][]string
	words []string // of all, in order
}

func (c *courses[K]) add(conn K, word, text string) {
	if c.lines == nil {
		c.lines = map[K][]string{}
	}
	if c.lines[conn] == nil {
		c.order = append(c.order, conn)
	}
	c.lines[conn] = append(c.lines[conn], text)
	c.words = append(c.words, word)
}

func (c *courses[K]) String() string {
	var lines []string
	for _, conn := range c.order {
		lines = append(lines, strings.Join(c.lines[conn], ", "))
	}
	return strings.Join(lines, "<br>")
}

// iceCourse is the course of the server's own states.
func (s *server) iceCourse(began time.Time) (text string, words []string) {
	var c courses[string]
	for _, e := range s.events() {
		switch {
		case e.Protocol != "rtc":
		case e.Kind == "state":
			c.add(e.Conn, e.State, e.State+" "+after(began, e.Time))
		case e.Kind == "close":
			c.add(e.Conn, "closed", "closed ("+e.Reason.Word+") "+after(began, e.Time))
		}
	}
	return c.String(), c.words
}

// course is the course of the browser's states.
func (w *labSeen) course(began time.Time) (text string, words []string) {
	var c courses[int]
	for _, s := range w.States {
		c.add(s.Number, s.ICE, s.ICE+"/"+s.Connection+" "+after(began, time.UnixMilli(s.At)))
	}
	return c.String(), c.words
}

const labHead = `# The network lab

What a browser sees and keeps while its network is broken, in every way that we could think of. A server and Debian's Chromium are in network namespaces of their own with a router between them (` + "`e2e/lab`" + `);
ffmpeg publishes H264 over RTMP, the page plays it with the JavaScript client and follows a log to which 20 messages a second are published. *Frozen* is the longest time for which the pixels of what the viewer sees
did not change. Times count from the fault, or from the page's start where the fault was there before. This table is written by ` + "`make lab`" + `; the same cases run in CI with bounds.

| fault | the server's states | the browser's states (ICE/connection) | what brought the picture, and why | frozen | messages lost |
| --- | --- | --- | --- | --- | --- |
`

func writeLab(t *testing.T, file string, rows []*labRow) {
	var b strings.Builder
	b.WriteString(labHead)
	for _, r := range slices.DeleteFunc(rows, func(r *labRow) bool { return r == nil }) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |", r.name, r.server, r.browser, strings.TrimSuffix(r.switches, "<br>"))
		if r.published > 0 {
			fmt.Fprintf(&b, " %.1f s | %d of %d |\n", r.freeze.Seconds(), r.lost, r.published)
		} else {
			b.WriteString(" | |\n")
		}
	}
	if err := os.WriteFile(filepath.Clean(file), []byte(b.String()), 0o644); err != nil {
		t.Error(err)
	}
}
