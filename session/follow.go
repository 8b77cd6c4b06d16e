package session

import (
	"slices"

	"hawser/lifecycle"
)

// follower is a subscription or a play of the client.
type follower struct {
	path   string
	from   From // what the application asked for
	resume bool // ask for the position after a reconnect
	want   Want

	kind     Kind
	placed   bool   // epoch and next mean something
	answered bool   // the server answered on this connection
	goesOn   bool   // it was asked on this connection to go on at next, so what comes from before that was seen
	epoch    uint64 // of the last answer
	next     uint64 // the offset that is wanted next
}

// ask is the subscribe or play for where it stands, or, the first time, as the application wanted. A switch of connections goes on where it stands in any case.
func (f *follower) ask(t Type, always bool) Message {
	m := Message{Type: t, Path: f.path, From: f.from, Epoch: f.epoch, Offset: f.next, Want: f.want}
	f.goesOn = f.placed && (f.resume || always) && f.want.Window == nil
	if f.goesOn {
		m.From = FromOffset
	}
	if m.From != FromHistory {
		m.Count, m.Age = 0, 0
	}
	return m
}

// place notes that the server answered with a position.
func (f *follower) place(epoch, next uint64) {
	f.placed, f.answered, f.epoch, f.next = true, true, epoch, next
}

// seen says whether what stands at a place was handed out on an earlier connection.
func (f *follower) seen(epoch, offset uint64) bool {
	return f.goesOn && f.placed && epoch == f.epoch && offset < f.next
}

// followers are the subscriptions or the plays, by path and in the order in which the application asked.
type followers struct {
	byPath map[string]*follower
	order  []*follower
}

func (fs *followers) add(f *follower, t Type) error {
	if text := pathFault(f.path); text != "" {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("path: %s", text), Path: f.path}
	}
	if fs.byPath[f.path] != nil {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("already %s", participle(t)), Path: f.path}
	}
	if fs.byPath == nil {
		fs.byPath = make(map[string]*follower)
	}
	fs.byPath[f.path] = f
	fs.order = append(fs.order, f)
	return nil
}

func (fs *followers) remove(path string) bool {
	f := fs.byPath[path]
	if f == nil {
		return false
	}
	delete(fs.byPath, path)
	fs.order = slices.DeleteFunc(fs.order, func(o *follower) bool { return o == f })
	return true
}

func (fs *followers) unanswered() {
	for _, f := range fs.order {
		f.answered = false
	}
}
