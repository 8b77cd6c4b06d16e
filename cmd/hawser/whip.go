package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
)

// The last segments of addresses of WHIP and WHEP.
const (
	whipSuffix = "/whip"
	whepSuffix = "/whep"
)

// newRTC makes the place of a command's peer; addresses of this machine alone are used for a server on it.
func newRTC(address string) (*rtc.Engine, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return rtc.New(rtc.Options{Loopback: loopback(u.Host) || loopback(u.Host+":80")})
}

// rtcEnd tells how a peer ended: err once it is closed.
type rtcEnd struct{ over chan lifecycle.Reason }

func newRTCEnd() rtcEnd { return rtcEnd{make(chan lifecycle.Reason, 1)} }

func (e rtcEnd) changed(c rtc.Change) {
	if c.To == rtc.StateClosed {
		e.over <- c.Reason
	}
}

// playWHEP plays a stream over WebRTC.
func playWHEP(ctx context.Context, address, token string, tag func(flv.Tag) error) error {
	engine, err := newRTC(address)
	if err != nil {
		return err
	}
	defer engine.Close()
	end := newRTCEnd()
	var mu sync.Mutex
	var failed error
	known := make(map[media.Kind]*media.Track)
	send := func(t media.Track, f media.Frame) {
		typ, body := flv.AppendFrame(nil, t, f)
		if failed == nil && len(body) > 0 {
			failed = tag(flv.Tag{Type: typ, Timestamp: uint32(f.DTS.Milliseconds()), Data: body})
		}
	}
	take := func(t *media.Track, f media.Frame) {
		mu.Lock()
		defer mu.Unlock()
		if known[t.Kind] != t {
			known[t.Kind] = t
			if len(t.Config) > 0 {
				send(*t, media.Frame{Track: t.ID, Kind: t.Kind, Config: true, Data: t.Config, DTS: f.DTS, PTS: f.DTS})
			}
		}
		if send(*t, f); failed != nil {
			select {
			case end.over <- lifecycle.ReasonInternal.Because(failed):
			default:
			}
		}
	}
	s, err := engine.Play(ctx, address, rtc.HTTPOptions{Token: cmp.Or(token, tokenOf(address)), Trickle: true, Peer: rtc.PeerOptions{OnFrame: take, OnChange: end.changed}})
	if err != nil {
		return err
	}
	select {
	case why := <-end.over:
		s.Peer.Close(why)
		mu.Lock()
		defer mu.Unlock()
		if failed != nil {
			return failed
		}
		if why.Is(lifecycle.ReasonDone) || why.Is(lifecycle.ReasonGone) {
			return nil
		}
		return why
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Close(context.WithoutCancel(ctx), lifecycle.ReasonDone))
	}
}

// tokenOf is the token in an address's query.
func tokenOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get("token")
}

// whipFile publishes an FLV file over WebRTC: what of it WebRTC carries.
func (o *publishOptions) whipFile(c *cobra.Command, path, name string) error {
	ctx := c.Context()
	tracks, err := flvTracks(name)
	if err != nil {
		return err
	}
	source := &groupSource{packers: make(map[int]*rtc.Packetizer)}
	var send []media.Track
	for _, t := range tracks {
		packer, err := rtc.NewPacketizer(t)
		if err == nil && rtc.Reorders(t) {
			err = errors.New("its pictures are sent in another order than shown (B-frames), which browsers do not play over WebRTC")
		}
		if err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "%s is left out: %v\n", t.Kind, err)
			continue
		}
		source.packers[t.ID] = packer
		send = append(send, t)
	}
	if len(send) == 0 {
		return fmt.Errorf("%s: nothing in it is carried by WebRTC", name)
	}
	address := strings.TrimSuffix(o.whip, "/") + path + whipSuffix
	engine, err := newRTC(address)
	if err != nil {
		return err
	}
	defer engine.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	up := make(chan struct{})
	var mu sync.Mutex
	over := false
	print := func(w io.Writer, format string, args ...any) { // what comes after the command's end is nobody's
		mu.Lock()
		defer mu.Unlock()
		if !over {
			fmt.Fprintf(w, format, args...)
		}
	}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}()
	s, err := engine.Publish(ctx, address, rtc.HTTPOptions{Token: cmp.Or(o.credentials.session(o.whip), tokenOf(o.whip)), Trickle: true, Peer: rtc.PeerOptions{Send: send, Source: source, OnChange: func(ch rtc.Change) {
		print(c.OutOrStdout(), "%s %s\n", ch.To, ch.Pair)
		switch ch.To {
		case rtc.StateConnected:
			if ch.From == rtc.StateChecking {
				select {
				case <-up:
				default:
					close(up)
				}
			}
		case rtc.StateClosed:
			cancel(ch.Reason)
		}
	}}})
	if err != nil {
		return err
	}
	source.peer = s.Peer
	defer s.Close(context.WithoutCancel(ctx), lifecycle.ReasonDone)
	select {
	case <-up:
	case <-ctx.Done():
		return ended(c, ctx)
	}
	var demux flv.Demuxer
	push := flvPush{loop: o.loop, open: func() (io.ReadCloser, error) { return os.Open(name) }, send: func(typ byte, ts uint32, body []byte) error {
		f, _, ok, err := demux.Feed(typ, ts, body)
		if err == nil && ok && !f.Config {
			source.add(f)
		}
		return err
	}}
	err = push.run(ctx)
	print(c.ErrOrStderr(), "published %v\n", &push)
	if ctx.Err() != nil {
		return ended(c, ctx)
	}
	return err
}

// ended is how a command ends with its context: well when it was interrupted.
func ended(c *cobra.Command, ctx context.Context) error {
	if c.Context().Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// flvTracks reads what an FLV file is made of, which stands at its beginning.
func flvTracks(name string) ([]media.Track, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const enough = 200 // tags
	r, d := flv.NewReader(f), flv.Demuxer{}
	for range enough {
		tag, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			_, _, _, err = d.Feed(tag.Type, tag.Timestamp, tag.Data)
		}
		if err != nil {
			return nil, err
		}
	}
	return d.Tracks(), nil
}

// groupSource is what is published.
type groupSource struct {
	peer    *rtc.Peer
	packers map[int]*rtc.Packetizer

	mu    sync.Mutex
	ready [][]byte
}

func (g *groupSource) add(f media.Frame) {
	packer := g.packers[f.Track]
	if packer == nil {
		return
	}
	if group := packer.AppendGroup(nil, f); len(group) > 0 {
		g.mu.Lock()
		g.ready = append(g.ready, group)
		g.mu.Unlock()
		g.peer.Wake()
	}
}

// Fill implements rtc.Source.
func (g *groupSource) Fill(dst [][]byte, _ int) [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	dst = append(dst, g.ready...)
	g.ready = nil
	return dst
}
