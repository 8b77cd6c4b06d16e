package server

import (
	"sync"
	"sync/atomic"
	"time"

	"hawser/ring"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
	"hawser/websocket"
)

// feedBatch is how many ready frames a data feed takes under one lock of the ring.
const feedBatch = 64

// wireName is the name of the derived rings of ready WebSocket frames.
const wireName = "session"

// feed is something that a session follows. One goroutine at a time, the one that writes, calls fill and arm.
type feed interface {
	// fill appends what is pending until max bytes are reached and returns how many bytes that was.
	fill(dst [][]byte, max int) (out [][]byte, size int)
	// arm asks for a Wake; false means that there is something now.
	arm() bool
	// close ends it; it may be called at any time.
	close()
	state() *feedState
}

// feedState is what the session keeps of each feed.
type feedState struct {
	conn   *sessionConn
	path   string
	media  bool
	queued bool // in conn.ready; guarded by conn.mu
	closed atomic.Bool
}

// wake puts the feed on the list of those that have something to send.
func (f *feedState) wake(of feed) {
	c := f.conn
	c.mu.Lock()
	if !f.queued && !f.closed.Load() {
		f.queued = true
		list := &c.readyData
		if f.media {
			list = &c.readyMedia
		}
		*list = append(*list, of)
	}
	c.mu.Unlock()
	c.ws.Wake()
}

// dataFeed is a subscription.
type dataFeed struct {
	feedState
	subject *subject.Subject
	output  *ring.Output[[]byte]
	cursor  *ring.Cursor[[]byte]
	batch   [feedBatch]ring.Item[[]byte]
	once    sync.Once
}

// newDataFeed opens a subscription whose first update is the one at the offset from. It takes over the caller's hold on the subject.
func newDataFeed(c *sessionConn, s *subject.Subject, from uint64) *dataFeed {
	f := &dataFeed{feedState: feedState{conn: c, path: s.Path()}, subject: s}
	f.output = s.Wires.Open(wireName, s.Ring(), from, c.server.wireLimits, func() func(ring.Item[subject.Update]) ([]byte, int) {
		var scratch []byte
		return func(item ring.Item[subject.Update]) ([]byte, int) {
			scratch = appendUpdate(scratch[:0], s, &item)
			frame := websocket.AppendFrame(nil, true, websocket.OpText, scratch)
			return frame, len(frame)
		}
	})
	f.cursor = f.output.Ring.Cursor(from)
	return f
}

// appendUpdate appends the message for an update.
func appendUpdate(dst []byte, s *subject.Subject, item *ring.Item[subject.Update]) []byte {
	u := &item.Value
	stamp := session.Stamp{Epoch: s.Epoch(), Offset: item.Seq, At: u.At.UnixMilli(), Time: u.Media, HasTime: u.HasMedia}
	if u.Data != nil {
		return session.AppendUpdate(dst, s.Path(), stamp, u.Data)
	}
	return session.AppendRecordUpdate(dst, s.Path(), stamp, u.Fields)
}

func (f *dataFeed) state() *feedState { return &f.feedState }

// Wake implements ring.Waker.
func (f *dataFeed) Wake() { f.wake(f) }

func (f *dataFeed) arm() bool { return f.cursor.Arm(f) }

func (f *dataFeed) fill(dst [][]byte, max int) (out [][]byte, size int) {
	for size < max {
		from := f.cursor.Seq()
		n, missed, err := f.cursor.Read(f.batch[:])
		if missed > 0 {
			b, resumed := f.catchUp(from, missed)
			dst = append(dst, b)
			size += len(b)
			if resumed {
				continue // what was just read is part of what was told
			}
		}
		for _, item := range f.batch[:n] {
			dst = append(dst, item.Value)
			size += len(item.Value)
		}
		clear(f.batch[:n])
		if err != nil {
			f.conn.removed(f, err)
			return dst, size
		}
		if n == 0 {
			return dst, size
		}
	}
	return dst, size
}

// catchUp tells a subscriber that was slower than the history what it missed from an offset on: for a log that it lost so many, for a record all
// that has changed since. resumed says that the cursor stands behind what was told.
func (f *dataFeed) catchUp(from, missed uint64) (frame []byte, resumed bool) {
	f.conn.slow(f.path, missed)
	m := session.Message{Type: session.TypeGap, Path: f.path, Epoch: f.subject.Epoch(), GapFrom: from, GapTo: from + missed}
	if f.subject.Kind() == subject.Record {
		fields, now, err := f.subject.ChangedSince(from)
		m = session.Message{Type: session.TypeUpdate, Path: f.path, Epoch: f.subject.Epoch(), Offset: now - 1, At: time.Now().UnixMilli()}
		if err != nil {
			m.Type, m.Kind = session.TypeSnapshot, session.KindRecord
			fields, now = f.subject.Image()
			m.Offset = now
		}
		m.Fields = session.AppendFields(nil, fields)
		f.cursor.Seek(now)
		resumed = true
	}
	return textFrame(&m), resumed
}

// textFrame is a message as a WebSocket frame.
func textFrame(m *session.Message) []byte {
	return websocket.AppendFrame(nil, true, websocket.OpText, session.Append(nil, m))
}

func (f *dataFeed) close() {
	f.once.Do(func() {
		f.closed.Store(true)
		f.cursor.Close()
		f.output.Close()
		f.subject.Close()
	})
}

// mediaFeed is a play.
type mediaFeed struct {
	feedState
	viewer *stream.Viewer
}

func (f *mediaFeed) state() *feedState { return &f.feedState }

// Wake implements ring.Waker.
func (f *mediaFeed) Wake() { f.wake(f) }

func (f *mediaFeed) arm() bool { return f.viewer.Arm(f) }

func (f *mediaFeed) fill(dst [][]byte, max int) ([][]byte, int) { return f.viewer.Fill(dst, max) }

func (f *mediaFeed) close() {
	f.closed.Store(true)
	f.viewer.Close()
}
