package stream

import (
	"math"
	"strconv"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// viewerBatch is how many packets a viewer takes under one lock of the ring.
const viewerBatch = 32

// viewerBatches are the borrowed places that viewers read into, so that a viewer holds none.
var viewerBatches = sync.Pool{New: func() any { return new([viewerBatch]ring.Item[Packet]) }}

// Packet is a ring item in the bytes of one wire format. Data may be empty: not every format has something to say about every item. Where the Data of two packets lie behind each other in one array, and the
// capacity of the first reaches over the second, viewers get them as one buffer.
type Packet struct {
	Data []byte
	// End says that viewers of this format end here.
	End bool

	start   bool // a viewer may start here, after the prelude
	changed bool // told in any case
}

// Packer makes packets. Its methods are called one at a time.
type Packer interface {
	// Pack turns an item, frame or change, into bytes. They may be kept for as long as the ring keeps the item and must not change.
	Pack(item ring.Item[Item]) Packet
}

// Format is a wire format.
type Format struct {
	// Name tells formats apart; streams make the bytes of each once.
	Name string
	// New makes the packer of one stream, beginning where state holds.
	New func(s *Stream, state *State) Packer
	// Prelude gives what a viewer must be sent before it gets packets from the place at: headers, codec parameters. skipped is 0 at the start, and the number of
	// packets left out when a slow viewer goes on at a later keyframe. What it returns is this viewer's alone.
	Prelude func(s *Stream, at uint64, state *State, skipped uint64) []byte
	// Gather says how long packets may wait for others.
	Gather Gather
}

// Viewer follows a stream in one format. Fill and Arm must not run at once; Close may run at any time.
type Viewer struct {
	// What each Fill looks at stands together: between two rounds of many viewers the memory of each is to be fetched anew.
	cursor  *ring.Cursor[Packet]
	stream  *Stream
	begun   bool
	needKey bool // packets are left out until one with Key
	resume  bool // it is to begin at from, if that can be, and may lag until it has caught up
	ended   bool
	skipped uint64 // left out since the last prelude

	format Format
	output *ring.Output[Packet]
	by     string
	from   uint64           // the next frame wanted
	why    lifecycle.Reason // of ended

	skips int       // how often packets were left out since
	since time.Time // when the present SkipWindow began

	once sync.Once
}

// View opens a viewer at the last keyframe. by is its connection's identity, for the log. The viewer holds the stream until it is closed.
func (h *Hub) View(path string, f Format, by string) (*Viewer, error) {
	s, err := h.Open(path)
	if err != nil {
		return nil, err
	}
	return s.view(&Viewer{stream: s, format: f, by: by}), nil
}

// ViewFrom is View for a viewer that comes back: it begins at the frame with the given offset if the stream is still that of the epoch and has the frame, and its bytes
// in this format, at hand; else as View does.
func (h *Hub) ViewFrom(path string, f Format, by string, epoch, offset uint64) (*Viewer, error) {
	s, err := h.Open(path)
	if err != nil {
		return nil, err
	}
	return s.view(&Viewer{stream: s, format: f, by: by, resume: epoch == s.Epoch(), from: offset}), nil
}

// view opens the viewer's output. It begins at the first Fill, which looks again where.
func (s *Stream) view(v *Viewer) *Viewer {
	at, state := v.place()
	var g *gate // of a ring that is made here
	v.output = s.outputs.Open(v.format.Name, s.frames, at, s.hub.opts.Limits, func() func(ring.Item[Item]) (Packet, int) {
		packer := v.format.New(s, state)
		g = &gate{gather: v.format.Gather}
		return func(item ring.Item[Item]) (Packet, int) {
			g.before(&item.Value)
			p := packer.Pack(item)
			p.start, p.changed = item.Value.Start, item.Value.Changed
			return p, max(len(p.Data), item.Size) // so that nothing is kept here of which the frame is gone
		}
	})
	if g != nil {
		g.open(v.output.Ring)
	}
	v.cursor = v.output.Ring.Cursor(at)
	s.mu.Lock()
	s.viewers++
	s.mu.Unlock()
	if !v.resume && !s.freshKey() {
		s.WantKeyframe()
	}
	return v
}

// place is where the viewer begins, and what holds there.
func (v *Viewer) place() (at uint64, state *State) {
	if v.resume {
		if state := v.stream.stateAt(v.from); state != nil {
			v.needKey = false
			return v.from, state
		}
	}
	at, state, ok := v.stream.Start()
	v.needKey, v.resume = !ok, false
	return at, state
}

// Stream returns the stream that is viewed.
func (v *Viewer) Stream() *Stream { return v.stream }

// Ended says that nothing follows: the stream's end was handed out, or the viewer is too slow. Not to be called while Fill runs.
func (v *Viewer) Ended() bool { return v.ended }

// Why says why nothing follows: lifecycle.ReasonGone, or ReasonSlow for a viewer for which frames were left out too often. Its connection is to be closed with that reason.
func (v *Viewer) Why() lifecycle.Reason { return v.why }

// end notes that nothing follows.
func (v *Viewer) end(why lifecycle.Reason) {
	if !v.ended {
		v.ended, v.why = true, why
	}
}

// Arm asks for a call of w.Wake when there is something to hand out; false means that there is something now.
func (v *Viewer) Arm(w ring.Waker) bool { return v.begun && (v.ended || v.cursor.Arm(w)) }

// Fill appends to dst what is to be sent next, until max bytes are reached, and returns it with the number of bytes appended; see netio.Source. The bytes are shared and must not change.
func (v *Viewer) Fill(dst [][]byte, max int) (out [][]byte, size int) {
	if !v.begun {
		v.begun = true
		if tail, _ := v.output.Ring.Bounds(); v.from < tail {
			v.resume = false
		}
		at, state := v.place()
		v.cursor.Seek(at)
		dst, size = v.prelude(dst, at, state, 0)
		if most := v.stream.hub.opts.MaxStart; most > 0 && !v.needKey && !v.resume && v.stream.sinceKey() > most {
			dst, size = v.still(dst, size)
		}
	}
	batch := viewerBatches.Get().(*[viewerBatch]ring.Item[Packet])
	defer viewerBatches.Put(batch)
	for size < max && !v.ended {
		most := min(viewerBatch, 1+(max-size)/512)
		n, missed, err := v.cursor.Read(batch[:most])
		switch {
		case missed > 0:
			from := v.cursor.Seq() - uint64(n) - missed
			v.fallBehind(from, from+missed)
		case n == 0:
			v.resume = false
			if err != nil {
				v.end(lifecycle.ReasonGone)
			}
			return dst, size
		case v.tooLate(batch[0].Time) && v.skip(batch[0].Seq):
		default:
			if dst, size = v.handAll(dst, size, max, batch[:n]); n < most { // that was all; Arm says whether there is more by now
				v.resume = false
				max = 0
			}
		}
		clear(batch[:n])
	}
	return dst, size
}

// still hands out the keyframe where the cursor stands and leaves out what follows, until the next one.
func (v *Viewer) still(dst [][]byte, size int) ([][]byte, int) {
	var key [1]ring.Item[Packet]
	if n, _, _ := v.cursor.Read(key[:]); n == 1 {
		dst, size = v.hand(dst, size, key[0])
	}
	from := v.cursor.Seq()
	_, head := v.output.Ring.Bounds()
	if head > from {
		v.cursor.Seek(head)
		v.needKey, v.skipped = true, head-from
	}
	return dst, size
}

// handAll appends packets until max bytes are reached and goes back to the others: what a slow receiver holds of the ring is bounded.
func (v *Viewer) handAll(dst [][]byte, size, max int, items []ring.Item[Packet]) ([][]byte, int) {
	for _, item := range items {
		if size >= max {
			v.cursor.Seek(item.Seq)
			break
		}
		dst, size = v.hand(dst, size, item)
	}
	return dst, size
}

// hand appends one packet, or leaves it out while a keyframe is waited for.
func (v *Viewer) hand(dst [][]byte, size int, item ring.Item[Packet]) ([][]byte, int) {
	p := &item.Value
	if v.ended {
		return dst, size
	}
	if v.needKey && p.start {
		frame, held := v.stream.frames.At(item.Seq)
		v.needKey = v.skipped > 0 && !held // it cannot be said what holds here
		if v.skipped > 0 && held {
			var n int
			dst, n = v.prelude(dst, item.Seq, frame.Value.State, v.skipped)
			size += n
			v.skipped = 0
		}
	}
	switch {
	case v.needKey && !p.changed:
		if v.skipped > 0 {
			v.skipped++
		}
	case len(p.Data) > 0:
		dst = appendPacket(dst, p.Data)
		size += len(p.Data)
	}
	if p.End {
		v.end(lifecycle.ReasonGone)
	}
	return dst, size
}

// appendPacket appends a packet, to the buffer before it where that ends where the packet begins: a write takes one long buffer with less effort than several.
func appendPacket(dst [][]byte, b []byte) [][]byte {
	if n := len(dst); n > 0 {
		last := dst[n-1]
		if end := len(last); cap(last) >= end+len(b) && &last[:end+1][end] == &b[0] {
			dst[n-1] = last[:end+len(b)]
			return dst
		}
	}
	return append(dst, b)
}

func (v *Viewer) prelude(dst [][]byte, at uint64, state *State, skipped uint64) ([][]byte, int) {
	if v.format.Prelude == nil {
		return dst, 0
	}
	b := v.format.Prelude(v.stream, at, state, skipped)
	if len(b) == 0 {
		return dst, 0
	}
	return append(dst, b), len(b)
}

// tooLate says that a packet appended at t is further behind than a viewer may be.
func (v *Viewer) tooLate(t time.Time) bool {
	return !v.needKey && !v.resume && v.stream.hub.opts.Now().Sub(t) > v.stream.hub.opts.MaxLag
}

// skip goes on at the last keyframe if that is ahead of the place from; the packets between are left out.
func (v *Viewer) skip(from uint64) bool {
	at, _, ok := v.stream.Start()
	if !ok || at <= from {
		return false
	}
	v.cursor.Seek(at)
	v.slow(at - from)
	return true
}

// fallBehind is what follows when the packets between from and oldest left the ring before they were handed out.
func (v *Viewer) fallBehind(from, oldest uint64) {
	at, _, ok := v.stream.Start()
	if ok && at > oldest {
		oldest = at
	}
	v.cursor.Seek(oldest)
	v.slow(oldest - from)
	if at < oldest {
		v.stream.WantKeyframe()
	}
}

// slow tells that packets are left out, and ends a viewer for which that was too often.
func (v *Viewer) slow(left uint64) {
	o := &v.stream.hub.opts
	v.needKey = true
	v.skipped = min(v.skipped+left, math.MaxInt32)
	o.Log.Add(lifecycle.Event{Kind: KindSlow, Protocol: "stream", Conn: v.by, Path: v.stream.path, Light: lifecycle.Amber,
		Reason: lifecycle.ReasonSlow, Detail: strconv.FormatUint(left, 10) + " frames left out"})
	now := o.Now()
	if now.Sub(v.since) > SkipWindow {
		v.since, v.skips = now, 0
	}
	if v.skips++; o.MaxSkips > 0 && v.skips > o.MaxSkips {
		v.end(lifecycle.ReasonSlow.With("frames were left out more than %d times within %v (MaxSkips)", o.MaxSkips, SkipWindow))
	}
}

// LeaveOut goes on at the next keyframe, for a receiver that cannot take the rate, as its protocol says; it counts like falling behind. It must not run at once with Fill and Arm.
func (v *Viewer) LeaveOut() {
	if v.ended || !v.begun {
		return
	}
	_, head := v.output.Ring.Bounds()
	from := v.cursor.Seq()
	v.cursor.Seek(max(head, from))
	v.slow(max(head, from+1) - from)
	v.stream.WantKeyframe()
}

// Close ends the viewing. It may be called more than once.
func (v *Viewer) Close() {
	v.once.Do(func() {
		v.cursor.Close()
		v.output.Close()
		v.stream.mu.Lock()
		v.stream.viewers--
		v.stream.mu.Unlock()
		v.stream.Close()
	})
}
