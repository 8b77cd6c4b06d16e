package server

import (
	"context"

	"hawser/amf"
	"hawser/hook"
	"hawser/lifecycle"
	"hawser/rtmp"
)

// Hooks on packets. A publisher waits for the answers, as nobody else does because of it. A player must not: whoever writes to it writes to others too. So
// its data messages are held back until their answers come, and then sent in their order; the media goes on, of which hooks are only told.

// ofPacket is an event about a packet.
func ofPacket(name string, s *rtmp.Stream, m *rtmp.Message) hook.Event {
	e := ofStream(name, s)
	e.Timestamp, e.Size = m.Timestamp, len(m.Payload)
	switch m.Type {
	case rtmp.TypeAudio:
		e.Type = "audio"
	case rtmp.TypeVideo:
		e.Type = "video"
	default:
		e.Type = "data"
		if values, err := amf.Decode(m.Payload); err == nil && len(values) > 0 {
			e.Name, _ = values[0].(string)
			e.Values = appendJSON(nil, amf.StrictArray(values[1:]))
		}
	}
	return e
}

// askPacket asks about a packet and alters it as the answer says; false drops it.
func (b *rtmpHooks) askPacket(ctx context.Context, e hook.Event, m *rtmp.Message) bool {
	answer, err := b.set.Ask(ctx, e)
	if err != nil || answer.Drop {
		return false
	}
	if answer.Values == nil || m.Type != rtmp.TypeData {
		return true
	}
	values, err := valuesOf(answer.Values)
	if err != nil {
		return false
	}
	m.Payload = amf.Append(amf.Append(nil, e.Name), values...)
	return true
}

func (b *rtmpHooks) publishData(s *rtmp.Stream, m *rtmp.Message) bool {
	if b.user.OnPublishData != nil && !b.user.OnPublishData(s, m) {
		return false
	}
	if data := m.Type == rtmp.TypeData; data && !b.set.Has(hook.PublishData) || !data && !b.set.HasMedia(hook.PublishData) {
		return true
	}
	return b.askPacket(b.server.ctx, ofPacket(hook.PublishData, s, m), m)
}

func (b *rtmpHooks) playData(s *rtmp.Stream, m *rtmp.Message) bool {
	if b.user.OnPlayData != nil && !b.user.OnPlayData(s, m) {
		return false
	}
	if m.Type != rtmp.TypeData {
		if b.set.HasMedia(hook.PlayData) {
			b.set.Tell(ofPacket(hook.PlayData, s, m))
		}
		return true
	}
	if b.set.Has(hook.PlayData) {
		b.hold(s, *m)
		return false
	}
	return true
}

// heldData is what one player's data messages wait in. Its list is never empty while somebody asks about the first.
type heldData struct {
	list []rtmp.Message
	told bool // that some were left out
}

// hold keeps a data message back until the hooks have answered.
func (b *rtmpHooks) hold(s *rtmp.Stream, m rtmp.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.held[s]
	if h == nil {
		h = &heldData{}
		b.held[s] = h
	}
	if len(h.list) >= MaxHeldData {
		lifecycle.CountReached("MaxHeldData")
		if !h.told {
			h.told = true
			b.server.log.Add(lifecycle.Event{Kind: hook.KindDropped, Conn: s.Conn().ID(), Path: s.Path(), Protocol: "hook", Side: lifecycle.Client, Light: lifecycle.Amber,
				Detail: "data messages to a player are left out while their hooks do not answer", Reason: lifecycle.ReasonSlow})
		}
		return
	}
	if h.list = append(h.list, m); len(h.list) == 1 {
		b.holding.Go(func() { b.release(s, h) })
	}
}

// release asks about what is held, and sends it, until there is no more or the player has stopped.
func (b *rtmpHooks) release(s *rtmp.Stream, h *heldData) {
	for {
		b.mu.Lock()
		m, playing := h.list[0], b.held[s] == h
		b.mu.Unlock()
		keep := playing && b.askPacket(b.server.ctx, ofPacket(hook.PlayData, s, &m), &m)
		b.mu.Lock()
		if playing = b.held[s] == h; keep && playing {
			s.Send(m)
		}
		h.list = h.list[1:]
		if len(h.list) == 0 || !playing {
			if h.list = nil; playing {
				delete(b.held, s)
			}
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
	}
}
