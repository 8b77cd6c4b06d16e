// Package server is where protocols meet the rings: its listeners take RTMP and HTTP connections, and what they publish and follow are the streams and subjects of one namespace of paths.
//
// There is one file for each meeting: rtmp.go, flv.go (HTTP-FLV), websocket.go (sessions), api.go. The package owns no protocol and keeps no media itself.
//
//	s := server.New(server.Options{})
//	http, _ := net.Listen("tcp", ":8080")
//	rtmp, _ := net.Listen("tcp", ":1935")
//	err := s.Serve(ctx, http, rtmp)
package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"hawser/auth"
	"hawser/hook"
	"hawser/lifecycle"
	"hawser/record"
	"hawser/relay"
	"hawser/ring"
	"hawser/rtc"
	"hawser/rtmp"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
	"hawser/websocket"
)

// Version is the version of the server, as it says in its answers.
const Version = "0.1.0"

// The times that hold unless Options say otherwise.
const (
	// DefaultHeartbeat is the interval at which a session's client pings.
	DefaultHeartbeat = 10 * time.Second
	// DefaultHelloTimeout is how long a session's client may take to say hello.
	DefaultHelloTimeout = 10 * time.Second
	// DefaultWriteTimeout is how long a client may take none of the bytes that wait for it before it is closed as slow.
	DefaultWriteTimeout = 10 * time.Second
	// DefaultAuthTimeout is how long it may take to say who a client is.
	DefaultAuthTimeout = 10 * time.Second
	// DefaultStopTimeout is how long a stop waits for clients to be told.
	DefaultStopTimeout = 3 * time.Second
	// headerTimeout is how long an HTTP client may take for its request's header.
	headerTimeout = 10 * time.Second
	// bodyTimeout is how long it may take for its body.
	bodyTimeout = 30 * time.Second
	// idleTimeout is how long it may keep its connection without a request.
	idleTimeout = 2 * time.Minute
	// liveInterval is how often the list of live streams is refreshed while nothing happens.
	liveInterval = time.Second
)

// DefaultGatherSound is how long sound waits for the next picture on its way to RTMP and HTTP-FLV viewers. Nobody notices in a player that holds seconds, pictures are not delayed at all,
// and a stream of 30 pictures and 43 frames of sound a second costs 30 writes for each viewer in place of 73 (docs/benchmarks.md).
const DefaultGatherSound = 40 * time.Millisecond

// DefaultMaxSessions bounds the sessions at one time.
const DefaultMaxSessions = 100_000

// Options are the settings of a Server; the zero value is good.
type Options struct {
	// Streams and Subjects are the limits of media and data; their Log is set by the server.
	Streams  stream.Options
	Subjects subject.Options
	// Record says what is recorded and where; without a Dir nothing is, and no recordings are played.
	Record record.Options
	// Events bounds the event log; its zero value keeps ring.DefaultCount events.
	Events ring.Limits
	// RTMP holds the limits of RTMP connections; Handler and Log are set by the server.
	RTMP *rtmp.Server
	// StrictCodecs leaves out, for RTMP players that have said nothing of codecs in connect, all that plain RTMP has no form for (HEVC, AV1, VP9, Opus and so on), and tells them. Without it they are sent it, as
	// ffmpeg, from 6.1 on, reads that but does not say so. Players that have named codecs are never sent others.
	StrictCodecs bool
	// Hooks are the endpoints and commands that are asked and told what RTMP clients do, and of the others who watches (play, stop) and what data is published (publish_data); their Log is set
	// by the server.
	Hooks hook.Options
	// RTMPHandler has functions that run before the hooks and the server's own, which come only to what these let through: they may refuse, rename, redirect, alter or drop packets, answer
	// commands and call the client. Conn.Data is theirs; Stream.Data, sinks and sources are the server's. nil for none.
	RTMPHandler *rtmp.Handler
	// Relays are the relays from the start; Relay holds their settings, of which Local, Identity and Log are set by the server.
	Relays []relay.Spec
	Relay  relay.Options
	// RTC says where WebRTC peers are reached, and their limits; nil is off.
	RTC *rtc.Options
	// RTCOpus is the program, "ffmpeg" or its path, that makes Opus of sound in AAC for WebRTC viewers, once for all of a stream; empty leaves such sound out.
	RTCOpus string
	// Gather says how long media may wait for more of it on the way to RTMP and HTTP-FLV viewers. Sound 0 means DefaultGatherSound, negative not at all; All 0 means not at all.
	Gather stream.Gather
	// Heartbeat is the interval at which a session's client pings; 0 means DefaultHeartbeat. A client that sends nothing for 2.5 times as long is closed.
	Heartbeat time.Duration
	// HelloTimeout closes a client that does not say hello; 0 means DefaultHelloTimeout.
	HelloTimeout time.Duration
	// WriteTimeout closes a client that takes nothing for as long; 0 means DefaultWriteTimeout.
	WriteTimeout time.Duration
	// MaxData bounds a data message of RTMP, in bytes of AMF; 0 means DefaultMaxData. Larger ones are left out (KindDataRefused).
	MaxData int
	// StopTimeout is how long a stop waits for clients to be told; 0 means DefaultStopTimeout.
	StopTimeout time.Duration
	// MaxSessions bounds the sessions at one time (reason limit); 0 means DefaultMaxSessions. MaxSessionsPerAddress and MaxSessionsPerUser bound those of one address and of one
	// user; 0 means no bound.
	MaxSessions, MaxSessionsPerAddress, MaxSessionsPerUser int
	// ReplaceSessions ejects the oldest session of a user (reason replaced) when a newer login would exceed MaxSessionsPerUser; otherwise that login is refused.
	ReplaceSessions bool
	// MaxSubscriptionsPerAddress and MaxSubscriptionsPerUser bound the subscriptions and plays of all sessions of one address and of one user (reason limit); 0 means no bound but that of each
	// session, session.DefaultMaxSubscriptions. Plays over WebRTC are bounded by RTC.
	MaxSubscriptionsPerAddress, MaxSubscriptionsPerUser int
	// MaxPublishRate bounds what one session publishes, in messages a second, with as many at once (reason limit); MaxPublishRatePerAddress and MaxPublishRatePerUser what all sessions of one
	// address and of one user do, and requests of the API with them. 0 means no bound.
	MaxPublishRate, MaxPublishRatePerAddress, MaxPublishRatePerUser float64
	// MaxPublishBytes and so on bound the same in bytes of JSON a second. A larger message is let through when nothing was published for a second, and the next when that is made good.
	MaxPublishBytes, MaxPublishBytesPerAddress, MaxPublishBytesPerUser int64
	// MaxCalls bounds the calls of one session that are being done (reason limit); 0 means DefaultMaxCalls. CallTimeout bounds how long one may take; 0 means DefaultCallTimeout.
	MaxCalls    int
	CallTimeout time.Duration
	// MaxOfferRate bounds the offers of one address over WHIP and WHEP, in offers a second, with as many at once (status 429, reason limit); 0 means DefaultMaxOfferRate, negative no bound.
	MaxOfferRate float64
	// Keep is how long a session, and what was answered to its requests, is remembered after its connection has gone; 0 means DefaultKeep.
	Keep time.Duration
	// Auth says who clients are and what they may do; nil lets everybody do everything. AuthTimeout bounds how long it may take; 0 means DefaultAuthTimeout.
	Auth        auth.Authenticator
	AuthTimeout time.Duration
	// Origins are the origins of web pages on other hosts that may open sessions and publish, such as "https://example.org"; "*" allows all. The server's own pages always may.
	Origins []string
	// Console is served at /, JS at /js/; nil for none.
	Console, JS fs.FS
	// ConsolePolicy is the Content-Security-Policy of the console's pages.
	ConsolePolicy string
	// Logger takes what goes wrong inside; nil means none.
	Logger *slog.Logger
}

// Server is one Hawser server. All methods may run at once; Serve runs once.
type Server struct {
	opts      Options
	log       *lifecycle.Log
	streams   *stream.Hub
	subjects  *subject.Hub
	rtmp      *rtmp.Server
	formats   struct{ rtmp, rtmpData, multitrack, rtmpBoth, flv, flvPlain, session, relay, relayBoth, rtc stream.Format }
	live      *liveList
	wake      chan struct{} // the list of live streams has changed
	sessions  sessions
	shares    shares
	accept    *websocket.AcceptOptions // of sessions
	recorder  *record.Recorder
	hooks     *hook.Set  // nil for none
	rtmpHooks *rtmpHooks // nil when nothing comes before the server's own handler
	relays    *relay.Relays
	identity  string // by which this server knows its own relays
	broken    error  // what is wrong with the options
	memory    *memory
	rtc       *rtc.Engine // nil when WebRTC is off
	whip      rtcResources
	opus      *opusMaker // nil: no Opus is made
	sources   sources
	made      made
	gather    gatherer
	traffic   traffic

	guards     guards
	rtmpGuards map[*rtmp.Stream]func()      // release those of streams; guarded by guards.mu
	rtmpKnown  map[*rtmp.Conn]auth.Identity // who has brought good credentials to connect; guarded by guards.mu

	callMu sync.Mutex
	calls  map[string]CallFunc // guarded by callMu

	plainMu sync.Mutex
	plain   map[string]*httpCarrier // sessions over plain HTTP, by the key of their connection; guarded by plainMu

	logWires, recordWires ring.Limits // of the rings of ready frames

	ctx  context.Context // ends when Serve does
	stop context.CancelFunc

	mu        sync.Mutex
	stopping  bool
	codecSets []string       // of RTMP players that have formats of their own
	pushing   map[string]int // viewers that are relays, by path
	wait      sync.WaitGroup // requests, and what goes on when they are done; see begin
}

// New makes a server.
func New(o Options) *Server {
	if o.Heartbeat <= 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	if o.HelloTimeout <= 0 {
		o.HelloTimeout = DefaultHelloTimeout
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = DefaultStopTimeout
	}
	o.MaxSessions = cmp.Or(max(o.MaxSessions, 0), DefaultMaxSessions)
	o.MaxCalls = cmp.Or(max(o.MaxCalls, 0), DefaultMaxCalls)
	o.CallTimeout = cmp.Or(max(o.CallTimeout, 0), DefaultCallTimeout)
	o.Keep = cmp.Or(max(o.Keep, 0), DefaultKeep)
	o.AuthTimeout = cmp.Or(max(o.AuthTimeout, 0), DefaultAuthTimeout)
	if o.Gather.Sound == 0 {
		o.Gather.Sound = DefaultGatherSound
	}
	o.MaxData = cmp.Or(max(o.MaxData, 0), DefaultMaxData)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, identity: rand.Text(), log: lifecycle.NewLog(o.Events), wake: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.accept = &websocket.AcceptOptions{Subprotocols: []string{session.Subprotocol}, Origins: []string{"*"}, MaxMessage: session.DefaultMaxMessage, WriteTimeout: o.WriteTimeout,
		TakeOver: true}
	s.sessions = sessions{most: o.MaxSessions, perAddress: o.MaxSessionsPerAddress, perUser: o.MaxSessionsPerUser, replace: o.ReplaceSessions}
	s.shares = newShares(&o)
	s.memory, s.sources.sessions, s.sources.linger = newMemory(o.Keep, o.MaxSessions), &s.sessions, WantedLinger
	s.made.server, s.rtmpGuards, s.rtmpKnown = s, make(map[*rtmp.Stream]func()), make(map[*rtmp.Conn]auth.Identity)
	o.Streams.Log, o.Subjects.Log = s.log, s.log
	o.Streams.OnChange = func(info stream.Info) {
		s.recorder.Changed(info)
		s.relays.Changed()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.streams, s.subjects = stream.NewHub(o.Streams), subject.NewHub(o.Subjects)
	s.newRecorder(o.Record)
	s.logWires = wireLimits(o.Subjects.Limits, subject.DefaultCount, subject.DefaultBytes)
	s.recordWires = wireLimits(o.Subjects.RecordLimits, subject.DefaultRecordCount, subject.DefaultRecordBytes)
	s.live = newLiveList(s)
	s.rtmp = o.RTMP
	if s.rtmp == nil {
		s.rtmp = &rtmp.Server{WriteTimeout: o.WriteTimeout}
	}
	s.newRelays(o.Relay)
	s.newHooks(o.Hooks)
	s.newRTC(o.RTC)
	s.newOpus(o.RTCOpus)
	s.whip.perSecond = cmp.Or(o.MaxOfferRate, DefaultMaxOfferRate)
	s.rtmp.Handler, s.rtmp.Log = s.guardRTMP(s.rtmpHandler()), s.log
	chunk := s.chunkSize()
	s.formats.rtmp, s.formats.rtmpData = rtmpFormat(chunk, carried{}), rtmpFormat(chunk, carried{data: true})
	s.formats.multitrack, s.formats.rtmpBoth = rtmpFormat(chunk, carried{multitrack: true}), rtmpFormat(chunk, carried{data: true, multitrack: true})
	s.formats.flv, s.formats.flvPlain, s.formats.session, s.formats.rtc = flvFormat(true), flvFormat(false), sessionFormat(), rtcFormat()
	for _, f := range []*stream.Format{&s.formats.rtmp, &s.formats.rtmpData, &s.formats.multitrack, &s.formats.rtmpBoth, &s.formats.flv, &s.formats.flvPlain} {
		f.Gather = o.Gather
	}
	return s
}

// wireLimits bounds the ready frames of a subject: as many as it has updates, with room for what a message has around its data.
func wireLimits(l ring.Limits, count int, bytes int64) ring.Limits {
	if l.Count <= 0 {
		l.Count = count
	}
	if l.Bytes <= 0 {
		l.Bytes = bytes
	}
	l.Bytes = 2*l.Bytes + int64(l.Count)*session.MaxPath
	return l
}

// Log returns the event log of all connections, streams and subjects.
func (s *Server) Log() *lifecycle.Log { return s.log }

// Streams returns the live media.
func (s *Server) Streams() *stream.Hub { return s.streams }

// Subjects returns the live data.
func (s *Server) Subjects() *subject.Hub { return s.subjects }

// Publish adds an update to a subject; on a durable path it returns when that is on disk. An update without a media time gets that of the stream at the same path, if one is live there.
func (s *Server) Publish(path string, kind subject.Kind, u subject.Update) (epoch, offset uint64, err error) {
	s.stamp(path, &u)
	if epoch, offset, err = s.subjects.Publish(path, kind, u); err == nil {
		s.dataToPlayers(path, &u)
	}
	return epoch, offset, err
}

func (s *Server) publishThen(path string, kind subject.Kind, u subject.Update, done func(epoch, offset uint64, err error)) {
	s.stamp(path, &u)
	s.subjects.PublishThen(path, kind, u, func(epoch, offset uint64, err error) {
		if err == nil {
			s.dataToPlayers(path, &u)
		}
		done(epoch, offset, err)
	})
}

// stamp gives an update its media time.
func (s *Server) stamp(path string, u *subject.Update) {
	if !u.HasMedia {
		u.Media, u.HasMedia = s.streams.MediaTime(path)
	}
}

// Check says what is wrong with the options, as Serve would: for those who want to know before they listen.
func (s *Server) Check() error {
	wrong := []error{s.broken}
	for _, spec := range s.opts.Relays {
		if err := spec.Check(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s %s: %w", spec.Kind, spec.Path, err))
		}
	}
	return errors.Join(wrong...)
}

// Serve takes connections from the listeners, either of which may be nil, until ctx ends; then it tells clients that it stops, closes everything and returns nil. When a
// listener fails it does the same and returns that error. It returns at once what is wrong with the options.
func (s *Server) Serve(ctx context.Context, httpListener, rtmpListener net.Listener) error {
	if s.broken != nil {
		s.closeRTC()
		return fmt.Errorf("server: %w", s.broken)
	}
	defer s.recorder.Close() // when no publisher is left
	defer s.closeRTC()
	if err := s.beginRelays(); err != nil {
		s.relays.Close()
		return fmt.Errorf("server: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	var first sync.Once
	var failure error
	fail := func(err error) {
		if err != nil && ctx.Err() == nil {
			first.Do(func() { failure = err })
			cancel()
		}
	}
	s.describe(rtmpListener)
	if rtmpListener != nil {
		running.Go(func() {
			fail(s.rtmp.Serve(ctx, &tellingListener{Listener: rtmpListener, log: s.log, protocol: "rtmp"}))
		})
	}
	web := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug)}
	(&garbage{log: s.log}).watch(web)
	if httpListener != nil {
		running.Go(func() {
			if err := web.Serve(&tellingListener{Listener: httpListener, log: s.log, protocol: "http"}); !errors.Is(err, http.ErrServerClosed) {
				fail(fmt.Errorf("server: http: %w", err))
			}
		})
	}
	running.Go(func() { s.keepList(ctx) })
	running.Go(func() { s.sessions.watch(ctx, s.opts.Heartbeat, s.opts.HelloTimeout, s.memory.sweep) })
	<-ctx.Done()
	s.relays.Close()
	patience := time.AfterFunc(s.opts.StopTimeout, s.sessions.cutAll)
	defer patience.Stop()
	s.shutdown(web)
	running.Wait()
	s.wait.Wait()
	s.streams.EndGraces()
	last, cancelLast := context.WithTimeout(context.Background(), s.opts.StopTimeout)
	defer cancelLast()
	s.rtmpHooks.close(last)
	return errors.Join(failure, s.subjects.CloseStore())
}

// begin counts a request in, for which Serve waits until s.wait.Done; false when the server is stopping.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.wait.Add(1)
	return true
}

// shutdown tells sessions that the server stops and closes what remains.
func (s *Server) shutdown(web *http.Server) {
	patience, cancel := context.WithTimeout(context.Background(), s.opts.StopTimeout)
	defer cancel()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.sessions.closeAll(lifecycle.ReasonShutdown)
	s.stop()
	s.closeRTC()
	if web.Shutdown(patience) != nil {
		web.Close()
	}
}

// keepList refreshes the list of live streams when something happens, and every second for the rates.
func (s *Server) keepList(ctx context.Context) {
	tick := time.NewTicker(liveInterval)
	defer tick.Stop()
	for {
		s.live.refresh()
		s.made.refresh()
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// contextCloser closes c when ctx ends; the function returned calls it off.
func contextCloser(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}
