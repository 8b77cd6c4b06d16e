// Package rtmp speaks RTMP 1.0: a server that calls a [Handler], a client that publishes and plays, and the chunk format by itself.
//
// It moves messages and knows what clients expect of the commands around them. It does not keep streams: what a
// publisher sends goes to a sink, what a player gets comes from a [netio.Source] as chunks made once by [AppendMessage],
// the same bytes for every player. It does not look inside audio and video (package flv does).
//
// Both handshakes are spoken, simple and with digests, by both sides; RTMPS is a listener of package crypto/tls for the server and a URL for the
// client. Recordings are played from a [Control], which can pause and seek. A player whose URL has ?timebase=zero gets times that count from its
// first frame. [Dial] makes a client, [Persist] keeps one, [Events] tells what a stream does.
//
//	server := &rtmp.Server{Handler: &rtmp.Handler{
//		OnPublish: func(ctx context.Context, s *rtmp.Stream) error {
//			s.SetSink(func(m rtmp.Message) error {
//				fmt.Println(s.Path(), m.Type, m.Timestamp, len(m.Payload))
//				return nil
//			})
//			return nil
//		},
//	}}
//	ln, err := net.Listen("tcp", ":1935")
//	if err != nil {
//		return err
//	}
//	return server.Serve(ctx, ln)
package rtmp
