package client

import (
	"hawser/lifecycle"
	"hawser/session"
)

// shrink makes the events of a subscription fewer. Where that cannot be done with what is there, the server is asked for the whole again.
func (s *Subscription) shrink(events []session.Event) []session.Event {
	for i := range events {
		if events[i].Subject == session.KindJSON {
			kept, whole := foldDocument(events)
			if !whole {
				s.c.again = append(s.c.again, s)
			}
			return kept
		}
	}
	return shrinkData(events)
}

// shrinkData makes the events fewer: those of a record are folded, of a log the older half is told as a gap.
func shrinkData(events []session.Event) []session.Event {
	for i := range events {
		switch {
		case events[i].Subject == session.KindRecord:
			return foldRecord(events)
		case events[i].Kind == session.EventWindow:
			return lastWindow(events)
		}
	}
	return shedLog(events)
}

// lastWindow keeps the last of the windows, which says it all, and all else before it.
func lastWindow(events []session.Event) []session.Event {
	var kept, last []session.Event
	for _, ev := range events {
		if ev.Kind == session.EventWindow {
			last = []session.Event{ev}
		} else {
			kept = append(kept, ev)
		}
	}
	return append(kept, last...)
}

// foldDocument folds the snapshots and updates of a document into one that has the whole, and keeps all else before it. Without a whole one among them the updates go, and whole is false.
func foldDocument(events []session.Event) (kept []session.Event, whole bool) {
	var folded session.Event
	for _, ev := range events {
		switch {
		case ev.Kind != session.EventSnapshot && ev.Kind != session.EventUpdate:
			kept = append(kept, ev)
		case ev.Data != nil:
			folded = ev
		case ev.Patch != nil && folded.Data != nil:
			ev.Data, ev.Patch = session.MergePatch(folded.Data, ev.Patch), nil
			folded = ev
		}
	}
	if folded.Data == nil {
		return kept, false
	}
	return append(kept, folded), true
}

// shedLog replaces the updates among the older half by gaps and keeps all else.
func shedLog(events []session.Event) []session.Event {
	var kept []session.Event
	for i, ev := range events {
		last := len(kept) - 1
		switch {
		case i >= len(events)/2 || ev.Kind != session.EventUpdate && ev.Kind != session.EventGap:
			kept = append(kept, ev)
		case last >= 0 && kept[last].Kind == session.EventGap && kept[last].Epoch == ev.Epoch && kept[last].To == ev.Offset:
			kept[last].To = lostTo(&ev)
		default:
			kept = append(kept, session.Event{Kind: session.EventGap, Path: ev.Path, Epoch: ev.Epoch, Offset: ev.Offset, To: lostTo(&ev)})
		}
	}
	return kept
}

// lostTo returns the offset after an update or gap; 0 for a gap whose end is not known.
func lostTo(ev *session.Event) uint64 {
	if ev.Kind == session.EventGap {
		return ev.To
	}
	return ev.Offset + 1
}

// foldRecord folds the snapshots and updates of a record into one event that says the same, and keeps all else before it.
func foldRecord(events []session.Event) []session.Event {
	var kept []session.Event
	var image fields
	var folded session.Event
	for _, ev := range events {
		switch {
		case ev.Kind == session.EventSnapshot && ev.Fields == nil && folded.Kind != session.EventNone:
			// the image that is held stands
		case ev.Kind == session.EventSnapshot:
			folded, image = ev, fields{}
			image.merge(ev.Fields)
		case ev.Kind == session.EventUpdate:
			image.merge(ev.Fields)
			folded = foldUpdate(folded, ev)
		default:
			kept = append(kept, ev)
		}
	}
	if folded.Kind == session.EventNone {
		return kept
	}
	if folded.Kind == session.EventUpdate || len(image.list) > 0 || folded.Fields != nil {
		folded.Fields = image.object(folded.Kind == session.EventSnapshot)
	}
	return append(kept, folded)
}

// foldUpdate is what an update makes of the event so far; a snapshot with a whole image stays one, at a later offset.
func foldUpdate(folded, ev session.Event) session.Event {
	if folded.Kind != session.EventSnapshot || folded.Fields == nil {
		return ev
	}
	folded.Offset, folded.Epoch, folded.Time, folded.HasTime = ev.Offset+1, ev.Epoch, ev.Time, ev.HasTime
	return folded
}

// fields are the latest values of a record's fields, in the order in which they first came.
type fields struct {
	list  []session.Field
	place map[string]int
}

func (f *fields) merge(raw []byte) {
	if len(raw) == 0 {
		return
	}
	changed, err := session.ParseFields(nil, raw)
	if err != nil {
		return // cannot be: the message was parsed
	}
	if f.place == nil {
		f.place = make(map[string]int)
	}
	for _, c := range changed {
		i, ok := f.place[c.Name]
		if !ok {
			i = len(f.list)
			f.place[c.Name] = i
			f.list = append(f.list, c)
		}
		f.list[i].Value = c.Value
	}
}

// object returns the JSON object; a whole image leaves out what was removed.
func (f *fields) object(whole bool) []byte {
	list := f.list
	if whole {
		list = nil
		for _, e := range f.list {
			if e.Value != nil {
				list = append(list, e)
			}
		}
	}
	return session.AppendFields(nil, list)
}

// shrinkMedia drops the waiting fragments and says how many; the play goes on at a keyframe. What is said of the stream, and the last init segment, stay.
func (p *Play) shrinkMedia(events []session.Event) []session.Event {
	var kept []session.Event
	for _, ev := range events {
		if ev.Kind == session.EventFragment && ev.Flags&session.FlagInit == 0 {
			p.skipped++
			continue
		}
		if ev.Kind == session.EventFragment && len(kept) > 0 && kept[len(kept)-1].Kind == session.EventFragment {
			kept = kept[:len(kept)-1]
		}
		kept = append(kept, ev)
	}
	p.seeking = true
	return kept
}

// admit says whether a fragment is handed out: after a loss not before the next keyframe, which is marked and announced.
func (p *Play) admit(ev *session.Event) bool {
	if !p.seeking || ev.Flags&session.FlagInit != 0 {
		return true
	}
	if !p.canStart(ev) {
		p.skipped++
		return false
	}
	about := p.last
	about.Media.Skipped, about.Reason = p.skipped, lifecycle.ReasonSlow.With("the application does not keep up")
	about.Epoch, about.Offset, about.Time, about.HasTime = ev.Epoch, ev.Offset, ev.Time, true
	p.seeking, p.skipped = false, 0
	p.queue.push(about)
	ev.Flags |= session.FlagDiscontinuity
	return true
}

// canStart says whether a decoder can start at a fragment: a keyframe of the video, or anything where there is no video.
func (p *Play) canStart(ev *session.Event) bool {
	for _, t := range p.last.Media.Tracks {
		if t.Kind == "video" {
			return ev.MediaKind == session.MediaVideo && ev.Flags&session.FlagKeyframe != 0
		}
	}
	return true
}
