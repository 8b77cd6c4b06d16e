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

// feedBatch is how many ready frames a data feed takes under one lock of the ring: most take one or two.
const feedBatch = 8

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

// feedState is what the session keeps of each feed. What each wake and each turn need stands first: with many feeds each line of memory has to be fetched.
type feedState struct {
	conn    *sessionConn
	closed  atomic.Bool
	queued  atomic.Bool // in conn.readyData or conn.readyMedia, or about to be
	restate atomic.Bool // the path's status may have changed
	media   bool
	told    session.Status // what the client knows; owned by Fill
	path    string
}

// wake puts the feed on the list of those that have something to send. The session is woken for the first of the list only: it then takes all of it.
func (f *feedState) wake(of feed) {
	if f.closed.Load() || f.queued.Swap(true) {
		return
	}
	c := f.conn
	c.mu.Lock()
	first := len(c.readyData)+len(c.readyMedia) == 0
	if f.media {
		c.readyMedia = append(c.readyMedia, of)
	} else {
		c.readyData = append(c.readyData, of)
	}
	joined := c.joined
	if c.joined++; first {
		c.joined = 0
	}
	c.mu.Unlock()
	if first {
		c.server.gather.wake(c, joined)
	}
}

// dataFeed is a subscription. It sends the frames that all subscribers share, or, where it has a rate or fields of its own, what has changed since the last time.
type dataFeed struct {
	feedState
	armed   bool // fill has read all and asked for a wake; owned by Fill
	bounded bool // the kind was known when fill last looked
	start   *start
	cursor  ring.Cursor[[]byte]
	pacer   pacer
	names   []string // the fields of a record that are wanted; nil means all
	subject *subject.Subject
	output  *ring.Output[[]byte]
	once    sync.Once
}

// newDataFeed opens a subscription whose first update is the one at the offset that start tells. It
// takes over the caller's hold on the subject. The message goes the way of the updates, because what is queued beside them may be overtaken by them.
func newDataFeed(c *sessionConn, s *subject.Subject, start *start, want session.Want) *dataFeed {
	f := &dataFeed{feedState: feedState{conn: c, path: s.Path(), told: session.StatusOK}, subject: s, start: start, names: want.Names}
	f.restate.Store(true)
	f.pacer.set(want.Rate, want.HasRate)
	f.output = s.Wires.Open(wireName, s.Ring(), start.offset, c.server.logWires, func() func(ring.Item[subject.Update]) ([]byte, int) {
		var scratch []byte
		var b burst
		return func(item ring.Item[subject.Update]) ([]byte, int) {
			if _, lost := item.Value.Lost(); lost {
				return nil, 0 // each feed tells what is lost from where it stands
			}
			scratch = appendUpdate(scratch[:0], s, &item)
			frame := b.frame(scratch, item.Time)
			return frame, len(frame)
		}
	})
	f.output.Ring.Place(&f.cursor, start.offset)
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

// arm asks the ring for a wake, unless fill has done so, or the rate has asked the clock.
func (f *dataFeed) arm() bool { return f.armed || f.pacer.resting() || f.cursor.Arm(f) }

func (f *dataFeed) fill(dst [][]byte, max int) (out [][]byte, size int) {
	f.armed = false
	f.bound()
	if f.start != nil {
		b := f.begin()
		dst, size = append(dst, b), len(b)
	}
	dst = f.restated(dst)
	if f.own() {
		return f.fillOwn(dst, size)
	}
	for size < max && !f.armed {
		var batch [feedBatch]ring.Item[[]byte]
		n, missed, armed, err := f.cursor.ReadOrArm(batch[:], f)
		if err != nil {
			return f.conn.removed(dst, &f.feedState, err), size
		}
		if missed > 0 {
			to := f.cursor.Seq() - uint64(n)
			var more int
			dst, more = f.catchUp(dst, to-missed, to, max-size)
			size += more
			continue
		}
		f.armed = armed
		for i := range batch[:n] {
			if size >= max { // what a slow client holds of the ring is bounded
				f.cursor.Seek(batch[i].Seq)
				f.armed = false
				break
			}
			if len(batch[i].Value) == 0 {
				var more int
				dst, more = f.damaged(dst, batch[i].Seq)
				size += more
				f.armed = false
				break
			}
			dst = join(dst, batch[i].Value)
			size += len(batch[i].Value)
		}
	}
	return dst, size
}

// begin is the answer to the subscription. The image is that of the moment when it can be sent.
func (f *dataFeed) begin() []byte {
	st := f.start
	f.start = nil
	m := session.Message{Type: session.TypeSnapshot, Path: f.path, Kind: st.kind, Epoch: st.epoch, Offset: st.offset, Time: st.time, HasTime: st.hasTime}
	if st.image {
		snap := f.subject.Snapshot()
		m.Offset, m.Time, m.HasTime = snap.Offset, snap.Media, snap.HasMedia
		m.Data = snap.Data
		if snap.Kind == subject.Record {
			m.Fields = session.AppendFields(nil, f.wanted(snap.Fields))
		}
		f.cursor.Seek(m.Offset)
	}
	return textFrame(&m)
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
		dst, size = f.gap(dst, from, lost)
		at = lost
	}
	for at < to && size < max {
		item, held := updates.At(at)
		if !held {
			break
		}
		if next, lost := item.Value.Lost(); lost {
			var more int
			dst, more = f.gap(dst, at, next)
			size, at = size+more, next
			continue
		}
		b := websocket.AppendFrame(nil, true, websocket.OpText, appendUpdate(nil, f.subject, &item))
		dst, size, at = append(dst, b), size+len(b), at+1
	}
	f.cursor.Seek(at)
	return dst, size
}

// gap tells what is lost.
func (f *dataFeed) gap(dst [][]byte, from, to uint64) ([][]byte, int) {
	b := textFrame(&session.Message{Type: session.TypeGap, Path: f.path, Epoch: f.subject.Epoch(), GapFrom: from, GapTo: to})
	return append(dst, b), len(b)
}

// damaged goes over what was damaged on disk at an offset and behind it.
func (f *dataFeed) damaged(dst [][]byte, at uint64) (out [][]byte, size int) {
	next := at + 1
	if item, held := f.subject.Ring().At(at); held {
		next, _ = item.Value.Lost()
	}
	f.cursor.Seek(next)
	return f.gap(dst, at, next)
}

// conflated is what has changed in a record since an offset, as one message; the cursor stands behind it then.
func (f *dataFeed) conflated(from uint64) []byte {
	snap := f.subject.Snapshot()
	m := session.Message{Path: f.path, Epoch: snap.Epoch, At: time.Now().UnixMilli(), Time: snap.Media, HasTime: snap.HasMedia}
	if snap.Kind == subject.JSON {
		if patch, now, ok := f.subject.PatchSince(from); ok {
			m.Type, m.Kind, m.Offset, m.Patch = session.TypeUpdate, session.KindJSON, now-1, patch
			f.cursor.Seek(now)
			return textFrame(&m)
		}
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
	text := textBuffers.Get().(*[]byte)
	*text = session.Append((*text)[:0], m)
	frame := websocket.AppendFrame(make([]byte, 0, len(*text)+frameHead), true, websocket.OpText, *text)
	if cap(*text) <= burstBytes {
		textBuffers.Put(text)
	}
	return frame
}

// textBuffers are the borrowed buffers in which messages are made.
var textBuffers = sync.Pool{New: func() any { return new([]byte) }}

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
	c.server.shares.unsubscribe(&c.uses)
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
	if err := c.server.shares.subscribe(&c.uses); err != nil {
		return nil, err
	}
	viewer, err := c.viewer(r)
	if err != nil {
		c.server.shares.unsubscribe(&c.uses)
	}
	return viewer, err
}

func (c *sessionConn) viewer(r session.Play) (*stream.Viewer, error) {
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
