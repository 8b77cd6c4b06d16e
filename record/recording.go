package record

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/stream"
)

// wakeup is a ring.Waker that a goroutine waits for.
type wakeup chan struct{}

// Wake implements ring.Waker.
func (w wakeup) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// recording is a cursor of a stream that writes to disk.
type recording struct {
	recorder *Recorder
	key      key
	names    naming
	stream   *stream.Stream
	cursor   *ring.Cursor[stream.Item]
	woken    wakeup
	stop     chan struct{} // closed by Recorder.Close

	began uint64 // the stream's item at which it began

	// guarded by recorder.mu
	request Request
	opened  bool      // a file was, for the request
	next    []request // of publishers that came while this one records

	// owned by run
	batch    [32]ring.Item[stream.Item]
	timer    *time.Timer
	state    *stream.State
	needKey  bool // frames are left out until one where a player may begin
	unwanted bool // the publisher's stream is not to be recorded
	by       string

	file    file // nil between files
	name    string
	in      container
	carries [maxTracks]bool
	without string        // names the tracks that the format cannot carry
	buf     []byte        // not written yet
	size    int64         // written
	base    time.Duration // the stream's time at the file's zero
	newest  time.Duration // in the file
	first   time.Duration // of this recording in the file
	looked  time.Time
}

// maxNext bounds the requests that wait while a disk is slow; with more the oldest are forgotten.
const maxNext = 16

// request is a Request and the stream's head when it came: the publisher that it is for came just before.
type request struct {
	Request
	at uint64
}

// ask takes a request for a stream that is recorded already; recorder.mu is held.
func (r *recording) ask(q Request) {
	_, head := r.stream.Frames().Bounds()
	if head == r.began && !r.opened {
		r.request = q
		return
	}
	if r.next = append(r.next, request{q, head}); len(r.next) > maxNext {
		r.next = slices.Delete(r.next, 0, 1)
	}
}

// claim says whether what comes from a publisher, who came with the item at a place, is to be recorded. In the grace period that is so in any case.
func (r *recording) claim(at uint64, grace bool) bool {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	for len(r.next) > 0 && r.next[0].at <= at {
		r.next = r.next[1:]
	}
	q := Request{}
	asked := len(r.next) > 0
	if asked {
		q, r.next = r.next[0].Request, r.next[1:]
	}
	if grace {
		r.request.By = q.By
		return true
	}
	r.request, r.opened = q, false
	return asked || matches(r.recorder.opts.Patterns, r.key.path)
}

// opening returns what was asked for, now that a file is opened for it.
func (r *recording) opening() Request {
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	q := r.request
	r.opened, r.request.Mode = true, NewFile // a later file of the same request is a new one
	return q
}

// run records until the stream ends, the server stops or something breaks.
func (r *recording) run() {
	r.timer = time.NewTimer(0)
	defer r.timer.Stop()
	defer r.stream.Close()
	defer r.cursor.Close()
	for over := false; !over; {
		why, err := r.follow()
		if err != nil {
			why = reasonOf(err)
			r.event(KindError, lifecycle.Red, why, r.label())
		}
		r.finish(why, err != nil)
		over = r.recorder.over(r, err != nil)
	}
}

// follow records until there is a reason to end (then err is nil), or an error.
func (r *recording) follow() (lifecycle.Reason, error) {
	for {
		n, missed, err := r.cursor.Read(r.batch[:])
		if missed > 0 {
			r.gap(missed)
		}
		for i := range n {
			item := &r.batch[i]
			if err := r.take(item); err != nil {
				return lifecycle.Reason{}, err
			}
			if why := r.ending(&item.Value); !why.IsZero() {
				r.cursor.Seek(item.Seq + 1)
				return why, nil
			}
		}
		clear(r.batch[:n])
		switch {
		case n > 0 || missed > 0:
		case err != nil:
			return lifecycle.ReasonOf(err), nil
		default:
			if err := r.rest(); err != nil {
				return lifecycle.Reason{}, err
			}
			if !r.await() {
				return lifecycle.ReasonShutdown, nil
			}
		}
	}
}

// ending says why the recording ends with an item, if it does: the stream has ended, or belongs to a publisher whom nobody wants recorded.
func (r *recording) ending(it *stream.Item) lifecycle.Reason {
	if it.Changed && (it.State.Status == stream.Ended || r.unwanted) {
		return endReason(it.State)
	}
	return lifecycle.Reason{}
}

// endReason is why a stream has ended.
func endReason(s *stream.State) lifecycle.Reason {
	if s.Reason.IsZero() {
		return lifecycle.ReasonDone
	}
	return s.Reason
}

// rest writes what is left when the stream has nothing more now, and looks after the file.
func (r *recording) rest() error {
	if err := r.flush(); err != nil || r.file == nil {
		return err
	}
	now := time.Now()
	if now.Sub(r.looked) < lookAfter {
		return nil
	}
	r.looked = now
	return r.look()
}

// look finds out whether the file is still where it was made: bytes written to a file that is gone are lost.
func (r *recording) look() error {
	mine, err := r.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(filepath.Join(r.recorder.opts.Dir, filepath.FromSlash(r.name)))
	if err != nil {
		return err
	}
	if !os.SameFile(mine, there) {
		return lifecycle.ReasonNotFound.With("%s is another file now", r.name)
	}
	return nil
}

// await waits for more, and then a little for more of it; false when the recording is to stop and has everything.
func (r *recording) await() bool {
	stopping := false
	select {
	case <-r.stop:
		stopping = true
	default:
	}
	switch {
	case !r.cursor.Arm(r.woken):
		return true
	case stopping:
		return false
	}
	select {
	case <-r.woken:
	case <-r.stop:
		return true
	}
	r.timer.Reset(gather)
	select {
	case <-r.timer.C:
	case <-r.stop:
	}
	return true
}

// take records one item of the stream.
func (r *recording) take(item *ring.Item[stream.Item]) error {
	it := &item.Value
	f := it.Frame
	if it.State != r.state {
		if err := r.changed(item.Seq, it); err != nil {
			return err
		}
	}
	if it.Changed || f.Config || r.unwanted {
		return nil
	}
	if len(f.Data) > maxFrame {
		r.gap(1)
		return nil
	}
	if it.Start && r.file != nil && r.full(f.DTS) {
		if err := r.end(lifecycle.ReasonDone.With("the file is full")); err != nil {
			return err
		}
	}
	if r.file == nil || r.needKey {
		if !it.Start {
			return nil
		}
		r.needKey = false
		if r.file == nil {
			if err := r.begin(f.DTS); err != nil {
				return err
			}
		}
	}
	return r.put(it, f)
}

// noTrack is the track of data that belongs to none.
var noTrack media.Track

// put makes bytes of a frame.
func (r *recording) put(it *stream.Item, f media.Frame) (err error) {
	track := it.State.Track(f.Track)
	if track == nil && f.Kind != media.Data || f.Track >= maxTracks {
		return nil
	}
	if track == nil {
		track = &noTrack
	}
	if f.Kind != media.Data && !r.carries[f.Track] {
		return nil
	}
	ahead := f.PTS - f.DTS
	f.DTS = max(f.DTS-r.base, 0)
	f.PTS = f.DTS + ahead
	r.newest = max(r.newest, f.PTS)
	if r.buf, err = r.in.frame(r.buf, track, f); err != nil {
		return err
	}
	if len(r.buf) >= block {
		return r.flush()
	}
	return nil
}

// changed takes a new state: other tracks may need another file, and another publisher may not be wanted.
func (r *recording) changed(at uint64, it *stream.Item) error {
	old := r.state
	r.state = it.State
	if old != nil && old.Status != stream.Live && it.State.Status == stream.Live {
		r.unwanted = !r.claim(at, old.Status == stream.Paused)
	}
	if r.file == nil || old != nil && sameTracks(old.Tracks, it.State.Tracks) || len(it.State.Tracks) == 0 {
		return nil
	}
	when := max(it.State.Time-r.base, 0)
	if !it.Changed {
		when = max(it.Frame.DTS-r.base, 0)
	}
	var ok bool
	if r.buf, ok = r.in.change(r.buf, r.carried(), when); ok {
		return nil
	}
	return r.end(lifecycle.ReasonDone.With("the codecs have changed"))
}

// sameTracks says that nothing has changed: states share the list until something does.
func sameTracks(a, b []media.Track) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// carried are the stream's tracks that the format has a form for.
func (r *recording) carried() (tracks []media.Track) {
	r.without, r.carries = "", [maxTracks]bool{}
	for _, t := range r.state.Tracks {
		if t.ID > 0 && t.ID < maxTracks && r.in.carries(t) {
			r.carries[t.ID] = true
			tracks = append(tracks, t)
			continue
		}
		r.without += fmt.Sprintf(", without %s %s", t.Kind, t.Codec)
	}
	return tracks
}

// full says that the file has all that it may have.
func (r *recording) full(dts time.Duration) bool {
	o := &r.recorder.opts
	return dts-r.base >= o.Segment || o.Size > 0 && r.size+int64(len(r.buf)) >= o.Size
}

// gap tells that frames are missing; the recording goes on at the next keyframe.
func (r *recording) gap(frames uint64) {
	r.needKey = true
	r.event(KindGap, lifecycle.Amber, lifecycle.ReasonSlow.With("the disk does not keep up, or a frame is too big"), fmt.Sprintf("%s, %d frames left out", r.label(), frames))
}

// begin opens a file for what comes from a time on.
func (r *recording) begin(at time.Duration) error {
	q := r.opening()
	r.by = q.By
	r.in = newContainer(r.key.format, &r.recorder.opts)
	tracks := r.carried()
	if len(tracks) == 0 {
		return lifecycle.ReasonUnsupported.With("%s has no form for any track of the stream", r.key.format)
	}
	r.newest, r.first, r.base, r.size, r.buf = 0, 0, at, 0, r.buf[:0]
	r.looked = time.Now()
	if q.Mode == Append && r.resume(tracks, at) {
		return nil
	}
	r.in = newContainer(r.key.format, &r.recorder.opts)
	f, name, err := r.recorder.folder.create(r.names)
	if err != nil {
		return err
	}
	r.file, r.name = r.recorder.wrap(f), name
	r.recorder.folder.wrote(name, 0, false)
	if r.buf, err = r.in.begin(r.buf, tracks); err != nil {
		return err
	}
	r.event(KindStart, lifecycle.Green, lifecycle.Reason{}, name+r.without)
	return r.flush()
}

// resume goes on with the stream's newest file; false if there is none that can be.
func (r *recording) resume(tracks []media.Track, at time.Duration) bool {
	f, name, err := r.recorder.folder.reopen(r.key.path, r.key.format)
	if err != nil {
		return false
	}
	end, next, ok := r.in.resume(f, tracks)
	o := &r.recorder.opts
	ok = ok && next < o.Segment && (o.Size <= 0 || end < o.Size)
	if ok && f.Truncate(end) == nil { // what a kill has left behind the last whole frame
		r.file, r.name, r.size, r.newest, r.first, r.base = r.recorder.wrap(f), name, end, next, next, at-next
		r.buf, ok = r.in.change(r.buf, tracks, next)
	}
	if r.file == nil || !ok {
		r.file = nil
		f.Close()
		return false
	}
	r.recorder.folder.wrote(name, end, false)
	r.event(KindStart, lifecycle.Green, lifecycle.Reason{}, fmt.Sprintf("%s, from %.3f s on%s", name, next.Seconds(), r.without))
	return true
}

// flush writes what is gathered.
func (r *recording) flush() error {
	if r.file == nil || len(r.buf) == 0 {
		return nil
	}
	if err := r.write(r.buf); err != nil {
		r.file.Truncate(r.size) // back to the last whole frame
		return err
	}
	r.size += int64(len(r.buf))
	if r.buf = r.buf[:0]; cap(r.buf) > 4*block { // a very large frame
		r.buf = nil
	}
	r.recorder.folder.wrote(r.name, r.size, false)
	if r.recorder.opts.Sync == SyncWrite {
		return r.file.Sync()
	}
	return nil
}

// write writes behind what is written. A kill may tear a write where a page ends; so that nothing torn is read, the bytes that make the rest visible come last.
func (r *recording) write(b []byte) error {
	last := min(r.in.commit(), len(b))
	if _, err := r.file.WriteAt(b[last:], r.size+int64(last)); err != nil || last == 0 {
		return err
	}
	_, err := r.file.WriteAt(b[:last], r.size)
	return err
}

// end completes the file.
func (r *recording) end(why lifecycle.Reason) error {
	err := r.flush()
	if err == nil {
		if b, at := r.in.patch(r.newest); b != nil {
			_, err = r.file.WriteAt(b, at)
		}
	}
	if err == nil {
		err = r.file.Sync()
	}
	light := lifecycle.Green
	if err != nil {
		light = lifecycle.Red
	}
	r.close(why, light)
	return err
}

// close closes the file, complete or not.
func (r *recording) close(why lifecycle.Reason, light lifecycle.Health) {
	r.file.Close()
	r.recorder.folder.wrote(r.name, r.size, true)
	r.event(KindStop, light, why, fmt.Sprintf("%s, %d bytes, %.3f s", r.name, r.size, (r.newest-r.first).Seconds()))
	r.file, r.buf = nil, r.buf[:0]
}

// finish completes the file, if there is one, at the end of the recording.
func (r *recording) finish(why lifecycle.Reason, failed bool) {
	if r.file == nil {
		return
	}
	if failed {
		r.close(why, lifecycle.Red)
		return
	}
	name := r.name
	if err := r.end(why); err != nil {
		r.event(KindError, lifecycle.Red, reasonOf(err), name)
	}
}

// label names the recording in an event: its file, or its format while it has none.
func (r *recording) label() string {
	if r.file == nil {
		return r.key.format.String()
	}
	return r.name
}

func (r *recording) event(kind string, light lifecycle.Health, why lifecycle.Reason, detail string) {
	r.recorder.log.Add(lifecycle.Event{Kind: kind, Protocol: "record", Conn: r.by, Path: r.key.path, Light: light, Reason: why, Detail: detail})
}
