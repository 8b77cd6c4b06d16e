//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	coderws "github.com/coder/websocket"
	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/gobwas/ws/wsutil"
	gorillaws "github.com/gorilla/websocket"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	nbiows "github.com/lesismal/nbio/nbhttp/websocket"
	"github.com/lxzan/gws"
)

// gorillaPeer writes in fragments whatever is longer than its write buffer.
type gorillaPeer struct{ *gorillaws.Conn }

const gorillaBuffer = 1000

func serveGorilla(t *testing.T, deflate bool, ends chan<- end) string {
	u := gorillaws.Upgrader{EnableCompression: deflate, WriteBufferSize: gorillaBuffer}
	return serveTheirs(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		gorillaPeer{c}.run(ends)
	})
}

func dialGorilla(ctx context.Context, url string, deflate bool, ends chan<- end) error {
	d := gorillaws.Dialer{EnableCompression: deflate, WriteBufferSize: gorillaBuffer}
	c, _, err := d.DialContext(ctx, url, nil)
	if err != nil {
		return err
	}
	gorillaPeer{c}.run(ends)
	return nil
}

func (p gorillaPeer) run(ends chan<- end) {
	defer p.Conn.Close()
	err := replies(p, func() (bool, []byte, error) {
		typ, data, err := p.ReadMessage()
		return typ == gorillaws.TextMessage, data, err
	})
	if e := (*gorillaws.CloseError)(nil); errors.As(err, &e) && e.Code != gorillaws.CloseAbnormalClosure {
		ends <- end{e.Code, e.Text}
	}
}

func (p gorillaPeer) write(text bool, data []byte) error {
	typ := gorillaws.BinaryMessage
	if text {
		typ = gorillaws.TextMessage
	}
	w, err := p.NextWriter(typ)
	if err != nil {
		return err
	}
	w.Write(data)
	return w.Close()
}

func (p gorillaPeer) fragments(data []byte) error { return p.write(true, data) }

func (p gorillaPeer) ping(data []byte) error {
	return p.WriteControl(gorillaws.PingMessage, data, time.Now().Add(interopPatience))
}

func (p gorillaPeer) close(code int, reason string) error {
	return p.WriteControl(gorillaws.CloseMessage, gorillaws.FormatCloseMessage(code, reason), time.Now().Add(interopPatience))
}

// coderPeer writes in fragments what does not fit its buffer.
type coderPeer struct {
	*coderws.Conn
	ctx context.Context
}

func coderMode(deflate bool) coderws.CompressionMode {
	if deflate {
		return coderws.CompressionContextTakeover
	}
	return coderws.CompressionDisabled
}

func serveCoder(t *testing.T, deflate bool, ends chan<- end) string {
	return serveTheirs(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := coderws.Accept(w, r, &coderws.AcceptOptions{CompressionMode: coderMode(deflate), CompressionThreshold: 1})
		if err != nil {
			t.Error(err)
			return
		}
		coderPeer{c, interopContext(t)}.run(ends)
	})
}

func dialCoder(ctx context.Context, url string, deflate bool, ends chan<- end) error {
	c, _, err := coderws.Dial(ctx, url, &coderws.DialOptions{CompressionMode: coderMode(deflate), CompressionThreshold: 1})
	if err != nil {
		return err
	}
	coderPeer{c, ctx}.run(ends)
	return nil
}

func (p coderPeer) run(ends chan<- end) {
	defer p.Conn.CloseNow()
	p.SetReadLimit(-1)
	err := replies(p, func() (bool, []byte, error) {
		typ, data, err := p.Read(p.ctx)
		return typ == coderws.MessageText, data, err
	})
	if e := (coderws.CloseError{}); errors.As(err, &e) {
		ends <- end{int(e.Code), e.Reason}
	}
}

func (p coderPeer) write(text bool, data []byte) error {
	typ := coderws.MessageBinary
	if text {
		typ = coderws.MessageText
	}
	return p.Write(p.ctx, typ, data)
}

func (p coderPeer) fragments(data []byte) error {
	w, err := p.Writer(p.ctx, coderws.MessageText)
	if err != nil {
		return err
	}
	w.Write(data[:len(data)/2])
	w.Write(data[len(data)/2:])
	return w.Close()
}

// ping waits for the pong, which somebody must read.
func (p coderPeer) ping([]byte) error {
	go p.Ping(p.ctx)
	return nil
}

func (p coderPeer) close(code int, reason string) error {
	return p.Close(coderws.StatusCode(code), reason)
}

// gobwasPeer makes its frames by hand.
type gobwasPeer struct {
	net.Conn
	r       io.Reader
	state   ws.State
	deflate bool
}

func serveGobwas(t *testing.T, deflate bool, ends chan<- end) string {
	return serveTheirs(t, func(w http.ResponseWriter, r *http.Request) {
		var u ws.HTTPUpgrader
		if deflate {
			e := wsflate.Extension{Parameters: wsflate.DefaultParameters}
			u.Negotiate = e.Negotiate
		}
		conn, rw, _, err := u.Upgrade(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		gobwasPeer{conn, rw, ws.StateServerSide, deflate}.run(ends)
	})
}

func dialGobwas(ctx context.Context, url string, deflate bool, ends chan<- end) error {
	var d ws.Dialer
	if deflate {
		d.Extensions = []httphead.Option{wsflate.DefaultParameters.Option()}
	}
	conn, br, _, err := d.Dial(ctx, url)
	if err != nil {
		return err
	}
	if br == nil {
		br = bufio.NewReader(conn)
	}
	gobwasPeer{conn, br, ws.StateClientSide, deflate}.run(ends)
	return nil
}

func (p gobwasPeer) run(ends chan<- end) {
	defer p.Conn.Close()
	err := replies(p, p.read)
	if e := (wsutil.ClosedError{}); errors.As(err, &e) {
		ends <- end{int(e.Code), e.Reason}
	}
}

func (p gobwasPeer) read() (text bool, data []byte, err error) {
	var m wsflate.MessageState
	control := wsutil.ControlFrameHandler(p.Conn, p.state)
	rd := wsutil.Reader{Source: p.r, State: p.state | ws.StateExtended, CheckUTF8: !p.deflate, Extensions: []wsutil.RecvExtension{&m}, OnIntermediate: control}
	for {
		h, err := rd.NextFrame()
		if err == nil && h.OpCode.IsControl() {
			if err = control(h, &rd); err == nil {
				continue
			}
		}
		if err != nil {
			return false, nil, err
		}
		var src io.Reader = &rd
		if m.IsCompressed() {
			src = wsflate.NewReader(src, func(r io.Reader) wsflate.Decompressor { return flate.NewReader(r) })
		}
		data, err = io.ReadAll(src)
		return h.OpCode == ws.OpText, data, err
	}
}

func (p gobwasPeer) frame(f ws.Frame) error {
	if p.state.ClientSide() {
		f = ws.MaskFrameInPlace(f)
	}
	return ws.WriteFrame(p.Conn, f)
}

func (p gobwasPeer) write(text bool, data []byte) (err error) {
	f := ws.NewBinaryFrame(data)
	if text {
		f.Header.OpCode = ws.OpText
	}
	if p.deflate {
		if f, err = wsflate.CompressFrame(f); err != nil {
			return err
		}
	}
	return p.frame(f)
}

func (p gobwasPeer) fragments(data []byte) error {
	const parts = 3
	data = bytes.Clone(data) // it is masked in place
	n := len(data) / parts
	for i := range parts {
		op, to := ws.OpContinuation, (i+1)*n
		if i == 0 {
			op = ws.OpText
		}
		if i == parts-1 {
			to = len(data)
		}
		if err := p.frame(ws.NewFrame(op, i == parts-1, data[i*n:to])); err != nil {
			return err
		}
	}
	return nil
}

func (p gobwasPeer) ping(data []byte) error { return p.frame(ws.NewPingFrame(data)) }

func (p gobwasPeer) close(code int, reason string) error {
	return p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
}

// gwsPeer is an event handler.
type gwsPeer struct {
	gws.BuiltinEventHandler
	ends chan<- end
}

func gwsDeflate(deflate bool) gws.PermessageDeflate {
	return gws.PermessageDeflate{Enabled: deflate, Threshold: 1, ServerContextTakeover: true, ClientContextTakeover: true}
}

func serveGWS(t *testing.T, deflate bool, ends chan<- end) string {
	return serveTheirs(t, func(w http.ResponseWriter, r *http.Request) {
		h := &gwsPeer{ends: ends}
		u := gws.NewUpgrader(h, &gws.ServerOption{CheckUtf8Enabled: true, PermessageDeflate: gwsDeflate(deflate)})
		c, err := u.Upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		c.ReadLoop()
	})
}

func dialGWS(_ context.Context, url string, deflate bool, ends chan<- end) error {
	h := &gwsPeer{ends: ends}
	c, _, err := gws.NewClient(h, &gws.ClientOption{Addr: url, CheckUtf8Enabled: true, PermessageDeflate: gwsDeflate(deflate)})
	if err != nil {
		return err
	}
	c.ReadLoop()
	return nil
}

// OnMessage implements gws.Event.
func (p *gwsPeer) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	reply(gwsReplier{c}, m.Opcode == gws.OpcodeText, m.Bytes())
}

// OnPing implements gws.Event.
func (p *gwsPeer) OnPing(c *gws.Conn, data []byte) { c.WritePong(data) }

// OnClose implements gws.Event.
func (p *gwsPeer) OnClose(_ *gws.Conn, err error) {
	if e := (*gws.CloseError)(nil); errors.As(err, &e) {
		p.ends <- end{int(e.Code), string(e.Reason)}
	}
}

type gwsReplier struct{ *gws.Conn }

func (r gwsReplier) write(text bool, data []byte) error {
	op := gws.OpcodeBinary
	if text {
		op = gws.OpcodeText
	}
	return r.WriteMessage(op, data)
}

func (r gwsReplier) fragments(data []byte) error {
	return r.WriteFile(gws.OpcodeText, bytes.NewReader(data))
}
func (r gwsReplier) ping(data []byte) error { return r.WritePing(data) }
func (r gwsReplier) close(code int, reason string) error {
	return r.WriteClose(uint16(code), []byte(reason))
}

// nbioReplier leaves the reading to its engine.
type nbioReplier struct{ *nbiows.Conn }

func serveNbio(t *testing.T, deflate bool, ends chan<- end) string {
	logging.SetLevel(logging.LevelError)
	u := nbiows.NewUpgrader()
	u.EnableCompression(deflate)
	u.OnOpen(func(c *nbiows.Conn) { c.EnableWriteCompression(deflate) })
	u.OnMessage(func(c *nbiows.Conn, typ nbiows.MessageType, data []byte) {
		reply(nbioReplier{c}, typ == nbiows.TextMessage, data)
	})
	u.SetCloseHandler(func(c *nbiows.Conn, code int, text string) {
		c.WriteClose(code, text)
		ends <- end{code, text}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := nbhttp.NewEngine(nbhttp.Config{Network: "tcp", Addrs: []string{ln.Addr().String()}, Listen: func(string, string) (net.Listener, error) { return ln, nil },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { u.Upgrade(w, r, nil) })})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return "ws://" + ln.Addr().String()
}

func (r nbioReplier) write(text bool, data []byte) error {
	typ := nbiows.BinaryMessage
	if text {
		typ = nbiows.TextMessage
	}
	return r.WriteMessage(typ, data)
}

func (r nbioReplier) fragments(data []byte) error { return r.write(true, data) }
func (r nbioReplier) ping(data []byte) error      { return r.WriteMessage(nbiows.PingMessage, data) }
func (r nbioReplier) close(code int, reason string) error {
	return r.WriteClose(code, reason)
}
