package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"hawser/amf"
	"hawser/hook"
	"hawser/lifecycle"
	"hawser/rtmp"
)

// MaxHeldData bounds the data messages of one player that wait for a hook's answer; more are left out.
const MaxHeldData = 64

// rtmpHooks puts an embedder's functions and the hooks before the server's own: Options.RTMPHandler first, Options.Hooks then; hookplain.go is about
// what is not RTMP.
type rtmpHooks struct {
	server *Server
	user   *rtmp.Handler // never nil
	own    *rtmp.Handler
	set    *hook.Set // nil without hooks

	mu      sync.Mutex
	began   map[any]time.Time // of connections, and of what their streams do
	held    map[*rtmp.Stream]*heldData
	holding sync.WaitGroup
}

// newHooks makes the hooks; what is wrong with the options Serve says.
func (s *Server) newHooks(o hook.Options) {
	if len(o.Hooks) == 0 {
		return
	}
	o.Log = s.log
	set, err := hook.New(o)
	if err != nil {
		s.broken = errors.Join(s.broken, err)
		return
	}
	s.hooks = set
}

// hooked is the handler with all that comes before it. A function that nobody needs stays nil, so that it costs nothing.
func (s *Server) hooked(own *rtmp.Handler) *rtmp.Handler {
	b := &rtmpHooks{server: s, user: s.opts.RTMPHandler, own: own, set: s.hooks}
	if b.user == nil && b.set == nil {
		return own
	}
	if b.user == nil {
		b.user = &rtmp.Handler{}
	}
	b.began, b.held = make(map[any]time.Time), make(map[*rtmp.Stream]*heldData)
	s.rtmpHooks = b
	h := &rtmp.Handler{OnConnect: b.connect, OnDisconnect: b.disconnect, OnPublish: b.publish, OnClose: b.publishClose, OnUnpublish: b.unpublish,
		OnPlay: b.play, OnStop: b.stop, OnStatus: b.status, OnResult: b.result, OnDelete: b.deleted, Length: own.Length}
	if b.user.Length != nil {
		h.Length = b.user.Length
	}
	if b.user.OnCommand != nil || b.set.Has(hook.Command) {
		h.OnCommand = b.command
	}
	if b.user.OnPublishData != nil || b.set.Has(hook.PublishData) {
		h.OnPublishData = b.publishData
	}
	if b.user.OnPlayData != nil || b.set.Has(hook.PlayData) {
		h.OnPlayData = b.playData
	}
	return h
}

// close waits for what is under way, and tells what waits until ctx ends.
func (b *rtmpHooks) close(ctx context.Context) {
	if b != nil {
		b.holding.Wait()
		b.set.Close(ctx)
	}
}

// start notes when something began; since forgets it and returns how many seconds it has lasted.
func (b *rtmpHooks) start(what any) {
	if b.set != nil {
		b.mu.Lock()
		b.began[what] = time.Now()
		b.mu.Unlock()
	}
}

func (b *rtmpHooks) since(what any) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.began[what]
	delete(b.began, what)
	if !ok {
		return 0
	}
	return time.Since(at).Seconds()
}

// ofConn is an event of a connection, ofStream one of a stream object.
func ofConn(name string, c *rtmp.Conn) hook.Event {
	stats := c.Stats()
	tcURL, _, _ := strings.Cut(c.TCURL(), "?")
	return hook.Event{Event: name, Protocol: overRTMP, Conn: c.ID(), Remote: c.RemoteAddr().String(), App: c.App(), Query: c.Query(), URL: tcURL, Client: c.Object().String("flashVer"),
		Received: stats.Received, Sent: stats.Sent}
}

func ofStream(name string, s *rtmp.Stream) hook.Event {
	e := ofConn(name, s.Conn())
	e.Path, e.Query, e.Mode = s.Path(), s.Query(), string(s.Mode())
	return e
}

// because puts a reason into an event.
func because(e hook.Event, why lifecycle.Reason) hook.Event {
	e.Reason, e.Text = why.Word, why.Text
	return e
}

// refused is a hook's refusal for the client.
func refused(err error) error {
	var r *hook.Refusal
	if errors.As(err, &r) {
		return &rtmp.Refusal{Description: r.Reason.Text, Redirect: r.Redirect, Reason: r.Reason}
	}
	return err
}

func (b *rtmpHooks) connect(ctx context.Context, c *rtmp.Conn) error {
	b.start(c)
	if b.user.OnConnect != nil {
		if err := b.user.OnConnect(ctx, c); err != nil {
			return err
		}
	}
	if b.set.Has(hook.Connect) {
		if _, err := b.set.Ask(ctx, ofConn(hook.Connect, c)); err != nil {
			return refused(err)
		}
	}
	if b.own.OnConnect != nil {
		return b.own.OnConnect(ctx, c)
	}
	return nil
}

func (b *rtmpHooks) disconnect(c *rtmp.Conn, why lifecycle.Reason) {
	if b.user.OnDisconnect != nil {
		b.user.OnDisconnect(c, why)
	}
	if b.own.OnDisconnect != nil {
		b.own.OnDisconnect(c, why)
	}
	lasted := b.since(c)
	if b.set.Has(hook.Disconnect) {
		e := because(ofConn(hook.Disconnect, c), why)
		e.Duration = lasted
		b.set.Tell(e)
	}
}

// ask asks about a stream, which the answer may rename. A redirect makes sense for connect only, so that it refuses here.
func (b *rtmpHooks) ask(ctx context.Context, e hook.Event, s *rtmp.Stream) error {
	answer, err := b.set.Ask(ctx, e)
	if err != nil {
		return refused(err)
	}
	if answer.Path == "" {
		return nil
	}
	if err := s.SetPath(answer.Path); err != nil {
		why := lifecycle.ReasonBadRequest.With("a hook's new path: %s", strings.TrimPrefix(err.Error(), "rtmp: "))
		b.server.log.Add(lifecycle.Event{Kind: hook.KindFailed, Protocol: "hook", Side: lifecycle.Client, Conn: e.Conn, Path: e.Path, Light: lifecycle.Amber, Detail: e.Event, Reason: why})
		return why
	}
	return nil
}

func (b *rtmpHooks) publish(ctx context.Context, s *rtmp.Stream) error {
	if b.user.OnPublish != nil {
		if err := b.user.OnPublish(ctx, s); err != nil {
			return err
		}
	}
	if b.set.Has(hook.Publish) {
		if err := b.ask(ctx, ofStream(hook.Publish, s), s); err != nil {
			return err
		}
	}
	err := b.own.OnPublish(ctx, s)
	if err == nil {
		b.start(s)
	}
	return err
}

func (b *rtmpHooks) publishClose(s *rtmp.Stream, why lifecycle.Reason) {
	if b.user.OnClose != nil {
		b.user.OnClose(s, why)
	}
	b.over(hook.PublishClose, s, why)
	b.own.OnClose(s, why)
}

// over tells that a publish or play has ended.
func (b *rtmpHooks) over(name string, s *rtmp.Stream, why lifecycle.Reason) {
	lasted := b.since(s)
	if b.set.Has(name) {
		e := because(ofStream(name, s), why)
		e.Duration = lasted
		b.set.Tell(e)
	}
}

func (b *rtmpHooks) unpublish(path string, why lifecycle.Reason) {
	if b.user.OnUnpublish != nil {
		b.user.OnUnpublish(path, why)
	}
	if b.own.OnUnpublish != nil {
		b.own.OnUnpublish(path, why)
	}
	if b.set.Has(hook.Unpublish) {
		b.set.Tell(because(hook.Event{Event: hook.Unpublish, Path: path}, why))
	}
}

func (b *rtmpHooks) play(ctx context.Context, s *rtmp.Stream) error {
	if b.user.OnPlay != nil {
		if err := b.user.OnPlay(ctx, s); err != nil {
			return err
		}
	}
	if b.set.Has(hook.Play) {
		e, q := ofStream(hook.Play, s), s.Request()
		e.What, e.Start, e.Length = q.What.String(), q.Start.Seconds(), q.Duration.Seconds()
		if err := b.ask(ctx, e, s); err != nil {
			return err
		}
	}
	err := b.own.OnPlay(ctx, s)
	if err == nil {
		b.start(s)
	}
	return err
}

func (b *rtmpHooks) stop(s *rtmp.Stream, why lifecycle.Reason) {
	b.mu.Lock()
	delete(b.held, s)
	b.mu.Unlock()
	if b.user.OnStop != nil {
		b.user.OnStop(s, why)
	}
	b.over(hook.Stop, s, why)
	b.own.OnStop(s, why)
}

// ofCommand is an event about a command.
func ofCommand(name string, c *rtmp.Conn, cmd *rtmp.Command) hook.Event {
	e := ofConn(name, c)
	e.Name, e.Values = cmd.Name, appendJSON(nil, amf.StrictArray(cmd.Args))
	return e
}

// command lets the embedder answer, and the hooks what it has no answer for.
func (b *rtmpHooks) command(ctx context.Context, c *rtmp.Conn, cmd *rtmp.Command) ([]amf.Value, error) {
	if b.user.OnCommand != nil {
		values, err := b.user.OnCommand(ctx, c, cmd)
		if err == nil || errors.Is(err, rtmp.ErrLater) || !b.set.Has(hook.Command) {
			return values, err
		}
	}
	answer, err := b.set.Ask(ctx, ofCommand(hook.Command, c, cmd))
	if err != nil {
		return nil, refused(err)
	}
	return valuesOf(answer.Values)
}

func (b *rtmpHooks) status(c *rtmp.Conn, cmd *rtmp.Command) {
	if b.user.OnStatus != nil {
		b.user.OnStatus(c, cmd)
	}
	if b.set.Has(hook.Status) {
		b.set.Tell(ofCommand(hook.Status, c, cmd))
	}
}

func (b *rtmpHooks) result(c *rtmp.Conn, cmd *rtmp.Command) {
	if b.user.OnResult != nil {
		b.user.OnResult(c, cmd)
	}
	if b.set.Has(hook.Result) {
		b.set.Tell(ofCommand(hook.Result, c, cmd))
	}
}

func (b *rtmpHooks) deleted(s *rtmp.Stream) {
	if b.user.OnDelete != nil {
		b.user.OnDelete(s)
	}
	if b.set.Has(hook.Delete) {
		b.set.Tell(ofStream(hook.Delete, s))
	}
}

// valuesOf is an array of JSON as AMF values.
func valuesOf(text json.RawMessage) ([]amf.Value, error) {
	if len(text) == 0 {
		return nil, nil
	}
	v, err := amfOf(json.NewDecoder(bytes.NewReader(text)))
	list, ok := v.(amf.StrictArray)
	if err != nil || !ok {
		return nil, lifecycle.ReasonProtocol.With("a hook's values: want a JSON array")
	}
	return list, nil
}
