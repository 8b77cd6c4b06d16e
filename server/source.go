package server

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/session"
)

// WantedLinger is how long a path that nobody follows any more is still wanted of its source.
const WantedLinger = 30 * time.Second

const (
	// MaxSources bounds what one session may feed, in paths (reason limit).
	MaxSources = 1000
	// maxLost bounds the paths that are marked as stale or limited because their source has left; beyond it the mark of some other is forgotten.
	maxLost = 10_000
)

// dataSource is a session that feeds a path and all below it.
type dataSource struct {
	conn     *sessionConn // the newest connection of the session
	away     bool         // that has gone; the session may come back. Guarded by sources.mu
	session  string
	path     string
	optional bool
	priority int
	asked    int // for how many paths; guarded by sources.mu
}

// followed is a path that somebody follows, or did so lately.
type followed struct {
	count  int
	asked  *dataSource // who was told that the path is wanted
	linger *time.Timer
}

// sources are who feeds what, what is followed, and what was fed once and is not any more. Nothing is sent under the lock but by queueing.
type sources struct {
	sessions *sessions
	view     atomic.Pointer[coverage]

	mu      sync.Mutex
	feeders []*dataSource
	lost    map[string]bool // paths that had a feeder and have none, and whether that was optional
	paths   map[string]*followed
	linger  time.Duration // WantedLinger
}

// coverage is what is fed and what is not any more at one moment. It never changes, so that Fill, which may hold locks of a connection, needs none to read it.
type coverage struct {
	fed  []string
	lost map[string]bool
}

func (s *sources) showLocked() {
	v := &coverage{lost: maps.Clone(s.lost)}
	for _, f := range s.feeders {
		v.fed = append(v.fed, f.path)
	}
	s.view.Store(v)
}

// under says whether path is prefix or lies below it.
func under(path, prefix string) bool {
	return prefix == "/" || strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// source does what a client says of itself.
func (c *sessionConn) source(r session.Source) {
	err := c.may(auth.Source, r.Path)
	if err == nil {
		err = reserved(r.Path)
	}
	switch {
	case err != nil:
	case r.On:
		err = c.server.sources.add(&dataSource{conn: c, session: c.id, path: r.Path, optional: r.Optional, priority: r.Priority})
	default:
		c.server.sources.remove(func(f *dataSource) bool { return f.session == c.id && f.path == r.Path })
	}
	if err != nil {
		c.send(&session.Message{Type: session.TypeError, Path: r.Path, Reason: lifecycle.ReasonOf(err)})
	}
}

// add takes a source on, in the place of the one that it was before, unless the session feeds too much.
func (s *sources) add(f *dataSource) error {
	s.mu.Lock()
	same := func(o *dataSource) bool { return o.session == f.session && o.path == f.path }
	count := 0
	for _, o := range s.feeders {
		switch {
		case same(o):
			s.unaskLocked(o) // it is told again
		case o.session == f.session:
			count++
		}
	}
	if count >= MaxSources {
		s.mu.Unlock()
		return lifecycle.Reached("MaxSources", MaxSources).With("a session feeds at most %d paths", MaxSources)
	}
	s.feeders = append(slices.DeleteFunc(s.feeders, same), f)
	slices.SortStableFunc(s.feeders, func(a, b *dataSource) int { return cmp.Compare(b.priority, a.priority) })
	changed := len(s.lost) > 0
	delete(s.lost, f.path)
	s.showLocked()
	s.askLocked()
	s.mu.Unlock()
	if changed {
		s.tell(f.path)
	}
	return nil
}

// away notes that the connection of sources has gone, of which they may come back: others are asked meanwhile.
func (s *sources) away(c *sessionConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeders {
		if f.conn == c {
			f.away = true
			s.unaskLocked(f)
		}
	}
	s.askLocked()
}

// unaskLocked forgets what a source was asked for.
func (s *sources) unaskLocked(f *dataSource) {
	for path, p := range s.paths {
		if p.asked == f {
			p.asked, f.asked = nil, f.asked-1
			s.dropLocked(path, p)
		}
	}
}

// dropLocked forgets a path that nobody follows, and no source was told of.
func (s *sources) dropLocked(path string, p *followed) {
	if p.count > 0 || p.asked != nil {
		return
	}
	if p.linger != nil {
		p.linger.Stop()
	}
	delete(s.paths, path)
}

// remove takes sources away; what only they fed is stale.
func (s *sources) remove(which func(*dataSource) bool) {
	s.mu.Lock()
	var gone []*dataSource
	s.feeders = slices.DeleteFunc(s.feeders, func(f *dataSource) bool {
		if which(f) {
			gone = append(gone, f)
			return true
		}
		return false
	})
	if len(gone) == 0 {
		s.mu.Unlock()
		return
	}
	for _, f := range gone {
		s.unaskLocked(f)
		if !slices.ContainsFunc(s.feeders, func(o *dataSource) bool { return o.path == f.path }) {
			s.loseLocked(f)
		}
	}
	s.showLocked()
	s.askLocked()
	s.mu.Unlock()
	for _, f := range gone {
		s.tell(f.path)
	}
}

// loseLocked notes that a path has no source any more.
func (s *sources) loseLocked(f *dataSource) {
	if s.lost == nil {
		s.lost = make(map[string]bool)
	}
	if len(s.lost) >= maxLost {
		for other := range s.lost {
			delete(s.lost, other)
			break
		}
	}
	s.lost[f.path] = f.optional
}

// has says whether a connection feeds anything.
func (s *sources) has(c *sessionConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.feeders, func(f *dataSource) bool { return f.conn == c })
}

// status is that of a path: stale or limited where what fed it has gone.
func (s *sources) status(path string) (session.Status, lifecycle.Reason) {
	v := s.view.Load()
	if v == nil || slices.ContainsFunc(v.fed, func(prefix string) bool { return under(path, prefix) }) {
		return session.StatusOK, lifecycle.Reason{}
	}
	status := session.StatusOK
	for prefix, optional := range v.lost {
		switch {
		case !under(path, prefix):
		case !optional:
			return session.StatusStale, lifecycle.ReasonGone.With("the source of %s has left", prefix)
		default:
			status = session.StatusLimited
		}
	}
	if status == session.StatusLimited {
		return status, lifecycle.ReasonGone.With("an optional source has left")
	}
	return status, lifecycle.Reason{}
}

// tell lets who follows something below a path look whether its status has changed.
func (s *sources) tell(prefix string) {
	for _, c := range s.sessions.list() {
		for _, f := range c.feedsBelow(prefix) {
			f.state().restate.Store(true)
			f.Wake()
		}
	}
}

// feedsBelow returns the subscriptions of the session to a path and what lies below it.
func (c *sessionConn) feedsBelow(prefix string) (list []subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, f := range c.subs {
		if under(path, prefix) {
			list = append(list, f)
		}
	}
	return list
}

// restated appends the status of a feed's path if that is not what the client was told last. Fill calls it, after the first answer.
func (f *feedState) restated(dst [][]byte) [][]byte {
	if !f.restate.Load() || !f.restate.Swap(false) {
		return dst
	}
	status, why := f.conn.server.sources.status(f.path)
	if status == f.told {
		return dst
	}
	f.told = status
	return append(dst, textFrame(&session.Message{Type: session.TypeStatus, Path: f.path, Status: status, Reason: why}))
}

// follows returns the paths at and below a prefix that the session follows.
func (c *sessionConn) follows(prefix string) (paths []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path := range c.subs {
		if under(path, prefix) {
			paths = append(paths, path)
		}
	}
	return paths
}

// follow counts one more who follows a path, unfollow one fewer.
func (s *sources) follow(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paths[path]
	if p == nil {
		if s.paths == nil {
			s.paths = make(map[string]*followed)
		}
		p = &followed{}
		s.paths[path] = p
	}
	p.count++
	if p.linger != nil {
		p.linger.Stop()
		p.linger = nil
	}
	s.askPathLocked(path, p)
}

func (s *sources) unfollow(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paths[path]
	if p == nil {
		return
	}
	p.count--
	switch {
	case p.count > 0:
	case p.asked == nil:
		s.dropLocked(path, p)
	default:
		p.linger = time.AfterFunc(s.linger, func() { s.unwanted(path) })
	}
}

// unwanted tells a source that nobody has followed a path for some time.
func (s *sources) unwanted(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paths[path]
	if p == nil || p.count > 0 {
		return
	}
	delete(s.paths, path)
	if p.asked != nil {
		p.asked.asked--
		p.asked.want(path, false)
	}
}

// askLocked tells sources what is wanted and was told to nobody.
func (s *sources) askLocked() {
	for path, p := range s.paths {
		if p.count > 0 {
			s.askPathLocked(path, p)
		}
	}
}

// askPathLocked tells the source with the greatest priority that a path is wanted; of several the one that was asked for the fewest.
func (s *sources) askPathLocked(path string, p *followed) {
	if p.asked != nil {
		return
	}
	var best *dataSource
	for _, f := range s.feeders {
		if best != nil && f.priority < best.priority {
			break
		}
		if !f.away && under(path, f.path) && (best == nil || f.asked < best.asked) {
			best = f
		}
	}
	if best != nil {
		p.asked = best
		best.asked++
		best.want(path, true)
	}
}

func (f *dataSource) want(path string, on bool) {
	f.conn.send(&session.Message{Type: session.TypeWanted, Path: path, Command: session.Command{On: on}})
}
