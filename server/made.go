package server

import (
	"cmp"
	"encoding/json"
	"strings"
	"sync"

	"hawser/lifecycle"
	"hawser/subject"
)

// The last segments of the records that the server makes itself, while somebody follows them.
const (
	// herePath, below a path: who follows that; a field for each session, by its identity in the event log.
	herePath = "/@here"
	// listPath, below a path: what exists directly below that; a field for each segment.
	listPath = "/@list"
)

// made are the records that the server makes.
type made struct {
	server *Server

	mu    sync.Mutex
	here  map[string]int // how many follow each, by the path that it is about
	lists map[string]*madeList
}

// madeList is the record of one list.
type madeList struct {
	count int
	shown map[string]string // what was last published
}

// follow begins to make a record that is followed for the first time.
func (m *made) follow(path string) {
	if about, ok := strings.CutSuffix(path, herePath); ok {
		m.mu.Lock()
		if m.here == nil {
			m.here = make(map[string]int)
		}
		m.here[about]++
		first := m.here[about] == 1
		m.mu.Unlock()
		if first {
			for _, c := range m.server.sessions.list() {
				if c.at(about) {
					m.came(c, about)
				}
			}
		}
	}
	if about, ok := strings.CutSuffix(path, listPath); ok {
		m.mu.Lock()
		if m.lists == nil {
			m.lists = make(map[string]*madeList)
		}
		if m.lists[about] == nil {
			m.lists[about] = &madeList{shown: make(map[string]string)}
		}
		m.lists[about].count++
		m.mu.Unlock()
		m.refresh()
	}
}

// unfollow stops to make a record that nobody follows any more.
func (m *made) unfollow(path string) {
	m.mu.Lock()
	gone := false
	if about, ok := strings.CutSuffix(path, herePath); ok {
		if m.here[about]--; m.here[about] <= 0 {
			delete(m.here, about)
			gone = true
		}
	}
	if about, ok := strings.CutSuffix(path, listPath); ok && m.lists[about] != nil {
		if m.lists[about].count--; m.lists[about].count <= 0 {
			delete(m.lists, about)
			gone = true
		}
	}
	m.mu.Unlock()
	if gone {
		m.server.subjects.Remove(path, lifecycle.ReasonDone)
	}
}

// came says that a session follows a path, subscribed or playing.
func (m *made) came(c *sessionConn, path string) {
	value, _ := json.Marshal(struct {
		User  string `json:"user,omitempty"`
		Since int64  `json:"since"`
	}{c.user(), c.since.UnixMilli()})
	m.tell(path, subject.Field{Name: c.life.ID(), Value: value})
}

// left says that a session does not follow a path any more.
func (m *made) left(c *sessionConn, path string) {
	if !c.at(path) {
		m.tell(path, subject.Field{Name: c.life.ID()})
	}
}

func (m *made) tell(path string, f subject.Field) {
	m.mu.Lock()
	defer m.mu.Unlock() // so that coming and leaving keep their order
	if m.here[path] > 0 {
		m.server.subjects.Publish(path+herePath, subject.Record, subject.Update{Fields: []subject.Field{f}})
	}
}

// at says whether a session follows a path.
func (c *sessionConn) at(path string) bool {
	c.mu.Lock()
	follows := c.subs[path] != nil || c.plays[path] != nil
	c.mu.Unlock()
	return follows || c.loggedIn.Load() && c.server.memory.keptPeers(c.id).plays(path)
}

// child is a field of a list.
type child struct {
	Kind     string `json:"kind,omitempty"` // of the subject at that path
	Stream   bool   `json:"stream,omitempty"`
	Children int    `json:"children,omitempty"` // subjects and streams below it
}

// refresh publishes what has changed in the lists that are followed.
func (m *made) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.lists) == 0 {
		return
	}
	all := m.server.subjects.List()
	streams := m.server.streams.List()
	for about, list := range m.lists {
		children := make(map[string]*child)
		below := func(path string) *child {
			rest, ok := strings.CutPrefix(path, about+"/")
			if !ok || strings.HasPrefix(rest, "@") || strings.Contains(rest, "/@") {
				return nil
			}
			name, _, deeper := strings.Cut(rest, "/")
			c := cmp.Or(children[name], &child{})
			children[name] = c
			if deeper {
				c.Children++
				return nil
			}
			return c
		}
		for _, info := range all {
			if info.Kind == subject.None {
				continue
			}
			if c := below(info.Path); c != nil {
				c.Kind = info.Kind.String()
			}
		}
		for _, info := range streams {
			if c := below(info.Path); c != nil {
				c.Stream = true
			}
		}
		m.publishList(about, list, children)
	}
}

func (m *made) publishList(about string, list *madeList, children map[string]*child) {
	var fields []subject.Field
	for name, c := range children {
		b, _ := json.Marshal(c)
		if list.shown[name] != string(b) {
			list.shown[name] = string(b)
			fields = append(fields, subject.Field{Name: name, Value: b})
		}
	}
	for name := range list.shown {
		if children[name] == nil {
			delete(list.shown, name)
			fields = append(fields, subject.Field{Name: name})
		}
	}
	if len(fields) > 0 {
		m.server.subjects.Publish(about+listPath, subject.Record, subject.Update{Fields: fields})
	}
}
