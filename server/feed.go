package server

import (
	"sync"
	"sync/atomic"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/ring"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
	"hawser/websocket"
)

// feedBatch is how many ready frames a data feed takes under one lock of the ring.
const feedBatch = 64

// dataBatches are the borrowed places that a data feed reads into, so that a subscription holds none.
var dataBatches = sync.Pool{New: func() any { return new([feedBatch]ring.Item[[]byte]) }}

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

// subscription is a feed of data.
type subscription interface {
	feed
	ring.Waker
	// throttle changes the greatest rate, in updates a second; without has there is no bound.
	throttle(rate float64, has bool)
}

// feedState is what the session keeps of each feed.
type feedState struct {
	conn   *sessionConn
	path   string
	media  bool
	queued bool // in conn.ready; guarded by conn.mu
	closed atomic.Bool

	restate atomic.Bool    // the path's status may have changed
	told    session.Status // what the client knows; owned by Fill
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
	c.carrier.Wake()
}

// dataFeed is a subscription. It sends the frames that all subscribers share, or, where it has a rate or fields of its own, what has changed since the last time.
type dataFeed struct {
	feedState
	pacer   pacer
	names   []string // the fields of a record that are wanted; nil means all
	subject *subject.Subject
	output  *ring.Output[[]byte]
	cursor  *ring.Cursor[[]byte]
	start   *session.Message // the answer, until it is given
	image   bool             // the answer is to have the record's image
	bounded bool             // the kind was known when fill last looked
	once    sync.Once
}

// newDataFeed opens a subscription that begins with the message start, and with the image of a record if so wanted; its first update is the one at the offset that start tells. It
// takes over the caller's hold on the subject. The message goes the way of the updates, because what is queued beside them may be overtaken by them.
func newDataFeed(c *sessionConn, s *subject.Subject, start *session.Message, image bool, want session.Want) *dataFeed {
	f := &dataFeed{feedState: feedState{conn: c, path: s.Path(), told: session.StatusOK}, subject: s, start: start, image: image, names: want.Names}
	f.restate.Store(true)
	f.pacer.set(want.Rate, want.HasRate)
	f.output = s.Wires.Open(wireName, s.Ring(), start.Offset, c.server.logWires, func() func(ring.Item[subject.Update]) ([]byte, int) {
		var scratch []byte
		var b burst
		return func(item ring.Item[subject.Update]) ([]byte, int) {
			scratch = appendUpdate(scratch[:0], s, &item)
			frame := b.frame(scratch, item.Time)
			return frame, len(frame)
		}
	})
	f.cursor = f.output.Ring.Cursor(start.Offset)
	return f
}

// appendUpdate appends the message for an update.
func appendUpdate(dst []byte, s *subject.Subject, item *ring.Item[subject.Update]) []byte {
	u := &item.Value
	stamp := session.Stamp{Epoch: s.Epoch(), Offset: item.Seq, At: u.At.UnixMilli(), Time: u.Media, HasTime: u.HasMedia}
	switch {
	case u.Patch != nil:
		return session.AppendDocumentUpdate(dst, s.Path(), stamp, nil, u.Patch)
	case u.Data != nil && s.Kind() == subject.JSON:
		return session.AppendDocumentUpdate(dst, s.Path(), stamp, u.Data, nil)
	case u.Data != nil:
		return session.AppendUpdate(dst, s.Path(), stamp, u.Data)
	}
	return session.AppendRecordUpdate(dst, s.Path(), stamp, u.Fields)
}

func (f *dataFeed) state() *feedState { return &f.feedState }

// Wake implements ring.Waker.
func (f *dataFeed) Wake() { f.wake(f) }

func (f *dataFeed) throttle(rate float64, has bool) { f.pacer.set(rate, has) }

// arm asks the ring for a wake, unless the rate has asked the clock.
func (f *dataFeed) arm() bool { return f.pacer.resting() || f.cursor.Arm(f) }

func (f *dataFeed) fill(dst [][]byte, max int) (out [][]byte, size int) {
	f.bound()
	if f.start != nil {
		b := f.begin()
		dst, size = append(dst, b), len(b)
	}
	dst = f.restated(dst)
	if f.own() {
		return f.fillOwn(dst, size)
	}
	batch := dataBatches.Get().(*[feedBatch]ring.Item[[]byte])
	defer dataBatches.Put(batch)
	for size < max {
		from := f.cursor.Seq()
		n, missed, err := f.cursor.Read(batch[:])
		if missed > 0 {
			var more int
			dst, more = f.catchUp(dst, from, from+missed, max-size)
			size += more
		} else {
			for i := range batch[:n] {
				if size >= max { // what a slow client holds of the ring is bounded
					f.cursor.Seek(batch[i].Seq)
					break
				}
				dst = join(dst, batch[i].Value)
				size += len(batch[i].Value)
			}
		}
		clear(batch[:n])
		if err != nil {
			return f.conn.removed(dst, &f.feedState, err), size
		}
		if n == 0 && missed == 0 {
			return dst, size
		}
	}
	return dst, size
}

// begin is the answer to the subscription. The image is that of the moment when it can be sent.
func (f *dataFeed) begin() []byte {
	m := f.start
	f.start = nil
	if f.image {
		snap := f.subject.Snapshot()
		m.Offset, m.Time, m.HasTime = snap.Offset, snap.Media, snap.HasMedia
		m.Data = snap.Data
		if snap.Kind == subject.Record {
			m.Fields = session.AppendFields(nil, f.wanted(snap.Fields))
		}
		f.cursor.Seek(m.Offset)
	}
	return textFrame(m)
}

// bound keeps no more ready frames of a record than the subject keeps updates: who falls further behind needs the image only. The kind may not be known when the first
// subscription comes.
func (f *dataFeed) bound() {
	if f.bounded {
		return
	}
	kind := f.subject.Kind()
	f.bounded = kind != subject.None
	if kind == subject.Record || kind == subject.JSON {
		f.output.Ring.SetLimits(f.conn.server.recordWires)
	}
}

// catchUp serves a subscriber that stands before the ready frames, which begin at to: because it resumes from a place older than their first reader's, or because it is slower
// than the history. A record's gets in one change what has changed since. A log's gets what the subject still holds, made for this one alone, and is told what it lost.
func (f *dataFeed) catchUp(dst [][]byte, from, to uint64, max int) (out [][]byte, size int) {
	updates := f.subject.Ring()
	tail, _ := updates.Bounds()
	if tail > from {
		f.conn.slow(f.path, min(tail, to)-from)
	}
	if kind := f.subject.Kind(); kind == subject.Record || kind == subject.JSON {
		b := f.conflated(from)
		return append(dst, b), len(b)
	}
	at := from
	if lost := min(tail, to); lost > from {
		b := textFrame(&session.Message{Type: session.TypeGap, Path: f.path, Epoch: f.subject.Epoch(), GapFrom: from, GapTo: lost})
		dst, size, at = append(dst, b), len(b), lost
	}
	for at < to && size < max {
		item, held := updates.At(at)
		if !held {
			break
		}
		b := websocket.AppendFrame(nil, true, websocket.OpText, appendUpdate(nil, f.subject, &item))
		dst, size, at = append(dst, b), size+len(b), at+1
	}
	f.cursor.Seek(at)
	return dst, size
}

// conflated is what has changed in a record since an offset, as one message; the cursor stands behind it then.
func (f *dataFeed) conflated(from uint64) []byte {
	snap := f.subject.Snapshot()
	m := session.Message{Path: f.path, Epoch: snap.Epoch, At: time.Now().UnixMilli(), Time: snap.Media, HasTime: snap.HasMedia}
	if snap.Kind == subject.JSON {
		m.Type, m.Kind, m.Offset, m.Data = session.TypeUpdate, session.KindJSON, snap.Offset-1, snap.Data
		f.cursor.Seek(snap.Offset)
		return textFrame(&m)
	}
	fields, now, err := f.subject.ChangedSince(from)
	if err == nil {
		m.Type, m.Offset = session.TypeUpdate, now-1
	} else {
		fields, now = f.subject.Image()
		m.Type, m.Kind, m.Offset = session.TypeSnapshot, session.KindRecord, now
	}
	m.Fields = session.AppendFields(nil, f.wanted(fields))
	f.cursor.Seek(now)
	if f.names != nil && m.Type == session.TypeUpdate && len(m.Fields) == len("{}") {
		return nil // nothing of what is wanted
	}
	return textFrame(&m)
}

// textFrame is a message as a WebSocket frame.
func textFrame(m *session.Message) []byte {
	return websocket.AppendFrame(nil, true, websocket.OpText, session.Append(nil, m))
}

func (f *dataFeed) close() {
	f.once.Do(func() {
		f.closed.Store(true)
		f.pacer.stop()
		f.cursor.Close()
		f.output.Close()
		f.subject.Close()
	})
}

// mediaFeed is a play.
type mediaFeed struct {
	feedState
	viewer *stream.Viewer
	began  time.Time
}

func (f *mediaFeed) state() *feedState { return &f.feedState }

// Wake implements ring.Waker.
func (f *mediaFeed) Wake() { f.wake(f) }

func (f *mediaFeed) arm() bool { return f.viewer.Arm(f) }

func (f *mediaFeed) fill(dst [][]byte, max int) (out [][]byte, size int) {
	dst, size = f.viewer.Fill(dst, max)
	if f.viewer.Ended() && !f.closed.Swap(true) {
		f.conn.hasEnded(f.path)
		b := textFrame(&session.Message{Type: session.TypeMedia, Path: f.path, Status: session.StatusGone, Reason: f.viewer.Why()})
		dst, size = append(dst, b), size+len(b)
	}
	return dst, size
}

func (f *mediaFeed) close() {
	f.closed.Store(true)
	f.viewer.Close()
}

// setPlay is the one place where a play begins or, with nil, ends.
func (c *sessionConn) setPlay(path string, f *mediaFeed) {
	old := c.plays[path]
	c.mu.Lock()
	if f == nil {
		delete(c.plays, path)
	} else {
		c.plays[path] = f
	}
	c.mu.Unlock()
	if f != nil {
		c.server.made.came(c, path)
		return
	}
	old.close()
	c.server.made.left(c, path)
	c.mu.Lock()
	why := lifecycle.ReasonDone
	if c.ended {
		why = c.reason
	}
	c.mu.Unlock()
	c.server.tellStop(c.hookEvent(path), old.began, why)
}

func (c *sessionConn) play(r session.Play) {
	viewer, err := c.view(r)
	if err != nil {
		c.machine.Stopped(r.Path)
		c.send(&session.Message{Type: session.TypeMedia, Path: r.Path, Status: session.StatusGone, Reason: lifecycle.ReasonOf(err)})
		return
	}
	f := &mediaFeed{feedState: feedState{conn: c, path: r.Path, media: true}, viewer: viewer, began: time.Now()}
	c.setPlay(r.Path, f)
	c.life.Event(lifecycle.Event{Kind: "play", Path: r.Path})
	c.bar(f, auth.Play)
	f.Wake()
}

func (c *sessionConn) view(r session.Play) (*stream.Viewer, error) {
	if err := c.may(auth.Play, r.Path); err != nil {
		return nil, err
	}
	if err := c.askPlay(r.Path); err != nil {
		return nil, err
	}
	format := c.server.formats.session
	if r.From == session.FromOffset {
		return c.server.streams.ViewFrom(r.Path, format, c.life.ID(), r.Epoch, r.Offset)
	}
	return c.server.streams.View(r.Path, format, c.life.ID())
}

func (c *sessionConn) stop(path string) {
	if c.plays[path] != nil {
		c.setPlay(path, nil)
	}
}
