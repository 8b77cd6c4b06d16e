// Package subject is live data: what is published at paths, as records (named fields, of which the present image counts) and
// as logs (messages, of which each counts).
//
// It is not a transport and knows no session: it validates what is published, gives every update its offset in one order, keeps
// the image of a record and the history of a log, and hands out the rings that followers put their cursors on. A record's
// image keeps the offset at which each field last changed, so a follower that comes back with any offset is told exactly what
// it lacks, without a history.
//
//	hub := subject.NewHub(subject.Options{})
//	s, err := hub.Open("/fx/EURUSD")
//	defer s.Close()
//	fields, offset := s.Image()
//	cursor := s.Ring().Cursor(offset)
//	hub.Publish("/fx/EURUSD", subject.Record, subject.Update{Fields: []subject.Field{{Name: "bid", Value: []byte("1.0871")}}})
//	changed, now, err := s.ChangedSince(offset) // bid, offset+1
package subject
