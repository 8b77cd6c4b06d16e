package session

import (
	"maps"
	"slices"
)

// modelKeep is how many messages the model's log holds.
const modelKeep = 30

// life is one life of a server: what it has in memory.
type life struct {
	epoch   uint64
	log     []string
	image   map[string]string
	changed map[string]uint64 // offset of the last change of each field
	next    uint64            // of the record
	doc     string
	version uint64 // of the document
	answers map[uint64]*Message
	docs    []string // every state of the document, by offset
}

func newLife(epoch uint64) *life {
	return &life{epoch: epoch, image: map[string]string{}, changed: map[string]uint64{}, answers: map[uint64]*Message{}, doc: "{}"}
}

// modelConn is a connection, seen from the server.
type modelConn struct {
	life    *life
	machine *Server
	up      [][]byte // on its way to the server
	down    [][]byte // on its way to the client
	at      map[string]uint64
	paused  bool
	welcome bool
	closed  bool
}

// serve lets a server do what one message asks.
func (w *world) serve(c *modelConn, b []byte) {
	req, err := c.machine.Receive(b)
	for req != nil || err != nil {
		if err != nil {
			w.t.Fatalf("the server refuses %s: %v", b, err)
		}
		w.act(c, req)
		req, err = c.machine.Next()
	}
}

func (c *modelConn) say(m *Message) { c.down = append(c.down, Append(nil, m)) }

func (w *world) act(c *modelConn, req Request) {
	l := c.life
	switch r := req.(type) {
	case Hello:
		m := Message{Type: TypeWelcome, At: 1}
		m.Version, m.Session, m.Resumed = Version, "s", r.Session == "s" && w.rng.IntN(2) == 0
		c.say(&m)
		c.welcome = true
	case Subscribe:
		w.subscribe(c, r)
	case Publish:
		answer := l.answers[r.ID]
		if answer == nil {
			answer = w.publish(l, r)
			l.answers[r.ID] = answer
		}
		c.say(answer)
	case Pause:
		c.paused = true
	case Resume:
		c.paused = false
	case Ping:
		c.say(&Message{Type: TypePong, ID: r.ID, At: 1})
	case Bye:
		c.closed = true
	}
}

func (w *world) publish(l *life, r Publish) *Message {
	m := &Message{Type: TypeAck, ID: r.ID, Path: r.Path, Epoch: l.epoch}
	switch r.Path {
	case modelLog:
		m.Offset = uint64(len(l.log))
		l.log = append(l.log, string(r.Data))
	case modelRecord:
		fields, _ := ParseFields(nil, r.Fields)
		for _, f := range fields {
			l.changed[f.Name] = l.next
			if f.Value == nil {
				delete(l.image, f.Name)
			} else {
				l.image[f.Name] = string(f.Value)
			}
		}
		m.Offset = l.next
		l.next++
	case modelDoc:
		l.doc = string(MergePatch([]byte(l.doc), r.Patch))
		l.docs = append(l.docs, string(r.Patch))
		m.Offset = l.version
		l.version++
	}
	return m
}

func (w *world) subscribe(c *modelConn, r Subscribe) {
	l := c.life
	same := r.From == FromOffset && r.Epoch == l.epoch
	m := &Message{Type: TypeSnapshot, Path: r.Path, Epoch: l.epoch}
	switch r.Path {
	case modelLog:
		m.Kind, m.Offset = KindLog, uint64(len(l.log))
		tail := uint64(max(0, len(l.log)-modelKeep))
		if same {
			m.Offset = max(r.Offset, tail)
		} else if r.From == FromOffset {
			m.Offset = tail
		}
	case modelRecord:
		m.Kind, m.Offset = KindRecord, l.next
		if same {
			m.Offset = r.Offset
		} else {
			m.Fields = appendImage(l.image)
		}
	case modelDoc:
		m.Kind, m.Offset = KindJSON, l.version
		if same && r.Offset+5 > l.version {
			m.Offset = r.Offset
		} else {
			m.Data = []byte(l.doc)
		}
	}
	c.at[r.Path] = m.Offset
	c.say(m)
}

func appendImage(image map[string]string) []byte {
	var fields []Field
	for _, name := range slices.Sorted(maps.Keys(image)) {
		fields = append(fields, Field{Name: name, Value: []byte(image[name])})
	}
	return AppendFields(nil, fields)
}

// flush lets a server send what is new to a connection.
func (w *world) flush(c *modelConn) {
	l := c.life
	if c.paused || c.closed {
		return
	}
	if at, ok := c.at[modelLog]; ok {
		if tail := uint64(max(0, len(l.log)-modelKeep)); at < tail {
			c.say(&Message{Type: TypeGap, Path: modelLog, Epoch: l.epoch, GapFrom: at, GapTo: tail})
			at = tail
		}
		for ; at < uint64(len(l.log)); at++ {
			c.say(&Message{Type: TypeUpdate, Path: modelLog, Epoch: l.epoch, Offset: at, At: 1, Data: []byte(l.log[at])})
		}
		c.at[modelLog] = at
	}
	if at, ok := c.at[modelRecord]; ok && at < l.next { // conflated
		var fields []Field
		for _, name := range slices.Sorted(maps.Keys(l.changed)) {
			if l.changed[name] >= at {
				f := Field{Name: name}
				if v, has := l.image[name]; has {
					f.Value = []byte(v)
				}
				fields = append(fields, f)
			}
		}
		c.say(&Message{Type: TypeUpdate, Path: modelRecord, Epoch: l.epoch, Offset: l.next - 1, At: 1, Fields: AppendFields(nil, fields)})
		c.at[modelRecord] = l.next
	}
	if at, ok := c.at[modelDoc]; ok {
		for ; at < l.version; at++ {
			c.say(&Message{Type: TypeUpdate, Path: modelDoc, Epoch: l.epoch, Offset: at, At: 1, Kind: KindJSON, Patch: []byte(l.docs[at])})
		}
		c.at[modelDoc] = at
	}
}
