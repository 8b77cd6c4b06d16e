package session

import "slices"

// SubscribeOptions says where a subscription starts and what of it is wanted; the zero value means everything, from a snapshot.
type SubscribeOptions struct {
	// From is FromSnapshot (also when zero), FromLive, FromOffset or FromHistory.
	From From
	// Epoch and Offset are the next update wanted, with FromOffset.
	Epoch, Offset uint64
	Want
}

// Subscribe follows the data of a path, now or as soon as the client is logged in, and over reconnects. It fails when the path makes no sense or is followed already.
func (c *Client) Subscribe(path string, o SubscribeOptions) error {
	f := &follower{path: path, from: defaultFrom(o.From, FromSnapshot), resume: true, want: o.Want}
	if f.from == FromOffset {
		f.epoch, f.next, f.placed = o.Epoch, o.Offset, true
	}
	if err := c.subs.add(f, TypeSubscribe); err != nil {
		return err
	}
	c.request(f.ask(TypeSubscribe, false))
	return nil
}

// Unsubscribe ends a subscription; what is still on its way is not handed out. It does nothing when there is none.
func (c *Client) Unsubscribe(path string) {
	if c.subs.remove(path) {
		c.request(Message{Type: TypeUnsubscribe, Path: path})
	}
}

// Throttle changes the greatest rate of a subscription, in updates a second; 0 stops it, without has there is no bound. It does nothing when there is no subscription.
func (c *Client) Throttle(path string, rate float64, has bool) {
	f := c.subs.byPath[path]
	if f == nil {
		return
	}
	f.want.Rate, f.want.HasRate = rate, has
	c.request(Message{Type: TypeThrottle, Path: path, Want: Want{Rate: rate, HasRate: has}})
}

// PlayOptions says where a play starts; the zero value means at the newest keyframe, after each reconnect too.
type PlayOptions struct {
	// Resume asks after a reconnect for the next frame that was not received, where the server still has it, and not for the newest keyframe.
	Resume bool
}

// Play asks for the media of a path, now or as soon as the client is logged in, and over reconnects. It fails when the path makes no sense or is played already.
func (c *Client) Play(path string, o PlayOptions) error {
	f := &follower{path: path, from: FromKeyframe, resume: o.Resume}
	if err := c.plays.add(f, TypePlay); err != nil {
		return err
	}
	c.request(f.ask(TypePlay, false))
	return nil
}

// Stop ends a play. It does nothing when there is none.
func (c *Client) Stop(path string) {
	if c.plays.remove(path) {
		c.request(Message{Type: TypeStop, Path: path})
	}
}

// SourceOptions says what a source is.
type SourceOptions struct {
	// Optional says that what it feeds is limited rather than stale without it.
	Optional bool
	// Priority chooses between the sources of a path: the greatest is asked.
	Priority int
}

// Source says that this client feeds a path and all below it, now and over reconnects, until SourceEnded. It fails when the path makes no sense.
func (c *Client) Source(path string, o SourceOptions) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	m := Message{Type: TypeSource, Path: path, Command: Command{On: true, Optional: o.Optional, Priority: o.Priority}}
	c.forgetSource(path)
	c.sources = append(c.sources, m)
	if c.linked {
		c.send(&m)
	}
	return nil
}

// SourceEnded takes Source back.
func (c *Client) SourceEnded(path string) {
	if c.forgetSource(path) {
		c.request(Message{Type: TypeSource, Path: path})
	}
}

func (c *Client) forgetSource(path string) bool {
	n := len(c.sources)
	c.sources = slices.DeleteFunc(c.sources, func(m Message) bool { return m.Path == path })
	return len(c.sources) < n
}
