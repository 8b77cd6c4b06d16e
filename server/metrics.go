package server

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
)

// metricsType is the media type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// started is when the process was.
var started = time.Now()

// traffic is what the server counts itself; the rest of the metrics is read from those who know it.
type traffic struct {
	sessionIn, sessionOut atomic.Uint64 // bytes of messages from clients, and of frames to them
	flvOut                atomic.Uint64 // bytes
	subscriptions         atomic.Int64
	rtc                   rtcTraffic
}

// rtcTraffic is the media of WebRTC peers, in bytes of payload: of those that there are, and of those that were.
type rtcTraffic struct {
	mu      sync.Mutex
	peers   map[*rtc.Peer]struct{}
	in, out uint64 // of those that were
}

// add adds a peer, unless it is over already.
func (t *rtcTraffic) add(p *rtc.Peer, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers == nil {
		t.peers = make(map[*rtc.Peer]struct{})
	}
	if !over {
		t.peers[p] = struct{}{}
	}
}

func (t *rtcTraffic) remove(p *rtc.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.peers[p]; ok {
		delete(t.peers, p)
		in, out := mediaBytes(p)
		t.in, t.out = t.in+in, t.out+out
	}
}

func (t *rtcTraffic) totals() (in, out uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in, out = t.in, t.out
	for p := range t.peers {
		i, o := mediaBytes(p)
		in, out = in+i, out+o
	}
	return in, out
}

func mediaBytes(p *rtc.Peer) (in, out uint64) {
	s := p.Stats()
	return s.Video.Bytes + s.Audio.Bytes, s.Sent.Bytes + s.Sent.ResentBytes
}

// metrics writes Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).
type metrics struct{ b []byte }

// family begins a metric; its samples follow.
func (m *metrics) family(name, kind, help string) {
	m.b = fmt.Appendf(m.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample is one value; labels are names and values in turn.
func (m *metrics) sample(name string, value float64, labels ...string) {
	m.b = append(m.b, name...)
	for i := 0; i < len(labels); i += 2 {
		m.b = append(append(append(m.b, "{,"[min(i, 1)]), labels[i]...), `="`...)
		m.b = append(append(m.b, labelValue.Replace(labels[i+1])...), '"')
	}
	if len(labels) > 0 {
		m.b = append(m.b, '}')
	}
	m.b = append(strconv.AppendFloat(append(m.b, ' '), value, 'g', -1, 64), '\n')
}

// one is a metric with a single value.
func (m *metrics) one(name, kind, help string, value float64) {
	m.family(name, kind, help)
	m.sample(name, value)
}

var labelValue = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// getMetrics answers with what there is, what went over it, and what became of it. Reasons and limits have the names that they have everywhere.
func (s *Server) getMetrics(w http.ResponseWriter, _ *http.Request) {
	var m metrics
	m.family("hawser_info", "gauge", "The version of the server; the value is 1.")
	m.sample("hawser_info", 1, "version", Version, "go", runtime.Version())
	m.one("hawser_start_time_seconds", "gauge", "When the process was started, in seconds since 1970.", float64(started.UnixMilli())/1000)
	m.one("hawser_goroutines", "gauge", "Goroutines now.", float64(runtime.NumGoroutine()))
	s.measureConnections(&m)
	s.measureData(&m)
	s.measureLimits(&m)
	w.Header().Set("Content-Type", metricsType)
	w.Header().Set("Cache-Control", "no-store")
	w.Write(m.b)
}

func (s *Server) measureConnections(m *metrics) {
	now := make(map[string]int)
	for _, c := range s.log.Conns() {
		now[c.Protocol]++
	}
	m.family("hawser_connections", "gauge", "Connections now, by protocol.")
	for _, protocol := range slices.Sorted(maps.Keys(now)) {
		m.sample("hawser_connections", float64(now[protocol]), "protocol", protocol)
	}
	events := s.log.Counts()
	keys := slices.SortedFunc(maps.Keys(events), func(a, b lifecycle.Count) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason))
	})
	m.family("hawser_closes_total", "counter", "Connections that have ended, by protocol and reason.")
	for _, k := range keys {
		if k.Kind == lifecycle.KindClose {
			m.sample("hawser_closes_total", float64(events[k]), "protocol", k.Protocol, "reason", k.Reason)
		}
	}
	m.family("hawser_events_total", "counter", "Events of the event log but opens and closes, by protocol, kind and reason.")
	for _, k := range keys {
		if k.Kind != lifecycle.KindOpen && k.Kind != lifecycle.KindClose {
			m.sample("hawser_events_total", float64(events[k]), "protocol", k.Protocol, "kind", k.Kind, "reason", k.Reason)
		}
	}
	m.family("hawser_opens_total", "counter", "Connections so far, by protocol.")
	for _, k := range keys {
		if k.Kind == lifecycle.KindOpen {
			m.sample("hawser_opens_total", float64(events[k]), "protocol", k.Protocol)
		}
	}
	rtmp := s.rtmp.Totals()
	rtcIn, rtcOut := s.traffic.rtc.totals()
	m.family("hawser_received_bytes_total", "counter", "Bytes from clients, by protocol; those of sessions without the heads of their frames, of WebRTC (rtc) the payload of media.")
	m.sample("hawser_received_bytes_total", float64(rtcIn), "protocol", overRTC)
	m.sample("hawser_received_bytes_total", float64(rtmp.Received), "protocol", "rtmp")
	m.sample("hawser_received_bytes_total", float64(s.traffic.sessionIn.Load()), "protocol", "session")
	m.family("hawser_sent_bytes_total", "counter", "Bytes for clients, by protocol; of WebRTC (rtc) the payload of media.")
	m.sample("hawser_sent_bytes_total", float64(s.traffic.flvOut.Load()), "protocol", "http-flv")
	m.sample("hawser_sent_bytes_total", float64(rtcOut), "protocol", overRTC)
	m.sample("hawser_sent_bytes_total", float64(rtmp.Sent), "protocol", "rtmp")
	m.sample("hawser_sent_bytes_total", float64(s.traffic.sessionOut.Load()), "protocol", "session")
}

func (s *Server) measureData(m *metrics) {
	in := 0
	all := s.sessions.list()
	for _, c := range all {
		if c.loggedIn.Load() {
			in++
		}
	}
	m.family("hawser_sessions", "gauge", "Sessions now, by whether they are logged in.")
	m.sample("hawser_sessions", float64(len(all)-in), "state", stateConnected)
	m.sample("hawser_sessions", float64(in), "state", stateLoggedIn)
	m.one("hawser_subscriptions", "gauge", "Subscriptions of sessions now.", float64(s.traffic.subscriptions.Load()))
	streams := s.streams.List()
	viewers, held, lights := 0, int64(0), make(map[lifecycle.Health]int)
	for _, i := range streams {
		viewers += i.Viewers
		held += i.Held
		lights[i.Light]++
	}
	m.family("hawser_streams", "gauge", "Streams now, by their light.")
	for _, light := range []lifecycle.Health{lifecycle.Red, lifecycle.Amber, lifecycle.Green} {
		m.sample("hawser_streams", float64(lights[light]), "light", light.String())
	}
	m.one("hawser_viewers", "gauge", "Viewers of streams now, recordings and relays among them.", float64(viewers))
	m.one("hawser_stream_held_bytes", "gauge", "Bytes of frames that streams keep now.", float64(held))
	kinds, bytes := make(map[subject.Kind]int), int64(0)
	for _, i := range s.subjects.List() {
		kinds[i.Kind]++
		bytes += i.Bytes
	}
	m.family("hawser_subjects", "gauge", "Subjects now, by kind; none: followed, but nothing was published yet.")
	for _, kind := range []subject.Kind{subject.None, subject.Log, subject.Record, subject.JSON} {
		m.sample("hawser_subjects", float64(kinds[kind]), "kind", kind.String())
	}
	m.one("hawser_subject_held_bytes", "gauge", "What the updates that subjects keep now count.", float64(bytes))
}

// measureLimits tells how often each limit was reached, and what it is where that is one number for the server.
func (s *Server) measureLimits(m *metrics) {
	limits := map[string]float64{
		"MaxSessions": float64(s.opts.MaxSessions), "MaxSessionsPerAddress": float64(s.opts.MaxSessionsPerAddress), "MaxSessionsPerUser": float64(s.opts.MaxSessionsPerUser),
		"MaxCalls": float64(s.opts.MaxCalls), "MaxData": float64(s.opts.MaxData), "MaxHeldData": MaxHeldData, "MaxCodecSets": MaxCodecSets, "MaxSources": MaxSources, "MaxBody": MaxBody,
		"MaxEarlyPosts": MaxEarlyPosts, "MaxOfferRate": s.whip.perSecond, "MaxSessionPeers": MaxSessionPeers, "MaxSessionOffers": MaxSessionOffers, "stream.MaxTracks": stream.MaxTracks, "session.MaxMessage": session.DefaultMaxMessage, "subject.MaxMessage": float64(cmp.Or(max(s.opts.Subjects.MaxMessage, 0), subject.DefaultMaxMessage)), "auth.MaxCredentials": auth.MaxCredentials, "auth.MaxPassword": auth.MaxPassword, "auth.MaxHashing": auth.MaxHashing, "auth.MaxAsking": auth.MaxAsking,
		"auth.MaxRules": auth.MaxRules, "auth.MaxRemoteBody": auth.MaxRemoteBody,
	}
	for _, bounds := range []map[string]int{s.rtmp.Bounds(), s.hooks.Bounds(), s.rtc.Bounds()} {
		for name, most := range bounds {
			limits[name] = float64(most)
		}
	}
	for _, b := range []*bounds{&s.shares.session, &s.shares.address, &s.shares.user} {
		limits["MaxPublishRate"+b.of], limits["MaxPublishBytes"+b.of] = b.rate, b.bytes
		if b.of != "" { // a session has session.DefaultMaxSubscriptions
			limits["MaxSubscriptions"+b.of] = float64(b.subscriptions)
		}
	}
	m.family("hawser_limit", "gauge", "What limits allow, by name; 0 is no bound.")
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		m.sample("hawser_limit", limits[name], "name", name)
	}
	reached := lifecycle.LimitsReached()
	for name := range limits {
		reached[name] += 0 // so that there is something to compare with before the first time
	}
	m.family("hawser_limit_reached_total", "counter", "How often limits were reached in this process, by name.")
	for _, name := range slices.Sorted(maps.Keys(reached)) {
		m.sample("hawser_limit_reached_total", float64(reached[name]), "name", name)
	}
}

// getReady says whether the server takes clients: not once it drains.
func (s *Server) getReady(w http.ResponseWriter, _ *http.Request) {
	s.sessions.mu.Lock()
	ready := s.sessions.drained == nil && !s.sessions.closed
	s.sessions.mu.Unlock()
	if !ready {
		s.httpError(w, lifecycle.ReasonShutdown.With("this server takes no more sessions"))
		return
	}
	io.WriteString(w, "ok\n")
}
