// Package rtc is WebRTC for servers and for programs that watch or send: peers whose seven ICE states are seen, WHIP and WHEP, media that is packetised once for all viewers, data channels.
//
// It does not know streams or sessions, and does no signalling but WHIP's and WHEP's: offers and answers come in and go out as text. It is the only importer of pion, which does ICE, DTLS, SRTP and SCTP
// below it.
//
// # Engines and peers
//
// An [Engine] is the place where peers live. A server's has one UDP port for all of them, and one TCP port if it likes (for clients whose network lets no UDP through); a client's has none, and each of its
// peers opens its own. A [Peer] is one connection.
//
//	engine, err := rtc.New(rtc.Options{UDP: ":8189", TCP: ":8189"})
//	if err != nil {
//		return err
//	}
//	defer engine.Close()
//	peer, err := engine.Peer(rtc.PeerOptions{OnFrame: func(t *media.Track, f media.Frame) { fmt.Println(t.Codec, f.PTS) }})
//	if err != nil {
//		return err
//	}
//	answer, err := peer.Answer(ctx, offer)
//
// The port has a socket on each of the machine's addresses, and takes up addresses that appear later when a peer gathers or is restarted. [Options] name everything else: ICE-lite, announced addresses,
// STUN and TURN servers, an embedded TURN server ([TURNOptions]), the clocks, the limits.
//
// # States
//
// Each change of a peer's ICE state is told in order to PeerOptions.OnChange and to its lifecycle.Conn, and none is lost to a slow observer: new, checking, connected, completed, disconnected, failed, closed.
// No stack below tells all of them. StateCompleted is derived: all addresses of both sides are known, and the pair that is used has not changed for Options.Settle. A [Change] has the pair of candidates
// with their types and, where something is wrong, a reason that says what was seen, such as "nothing came over udp host 192.0.2.1:8189 - srflx 198.51.100.7:5000 for 2.5s".
//
//	timer                  default                       what follows
//	Settle                 2 s                           completed
//	DisconnectedTimeout    2.5 s without a packet        disconnected
//	FailedTimeout          10 s more, or of checking     failed
//	ConnectTimeout         15 s without ICE and DTLS     the peer is closed (timeout)
//	RestartTimeout         30 s after failed             the peer is closed (timeout)
//
// Another pair in between is an event of its own ([KindPair]), at most one in ten seconds.
//
// A peer is restarted by another offer with new credentials ([Peer.Answer]), by [Peer.Restart] on the side that offers, or by a fragment ([Peer.Patch]). DTLS, media and data channels survive it.
//
// # Sending
//
// A [Packetizer] makes a group of each frame: its RTP payloads. A group is made once and handed to any number of peers by their [Source]; what differs between viewers is written when it is sent, with one
// call to the system for a group on Linux. Groups that were sent are kept by reference and answer the viewer's requests for lost packets. Wake a peer when its source has something; a few goroutines
// send for all peers of an engine.
//
//	peer, err := engine.Peer(rtc.PeerOptions{Send: []media.Track{video, audio}, Source: source, OnKeyframe: askThePublisher})
//	...
//	peer.Wake() // calls source.Fill soon
//
// # Receiving
//
// PeerOptions.OnFrame gets frames in order, put together from packets, with one zero for audio and video. Lost packets are asked for again; what does not come makes the receiver ask for a keyframe.
//
// # Data channels
//
// [Peer.Open] opens a data channel before the offer, PeerOptions.OnChannel takes those of the other side. [Channel.Send] never waits: it refuses when too much waits (reason slow), and OnDrain says when
// there is room again.
//
// # WHIP and WHEP
//
// [Engine.Publish] and [Engine.Play] are the client sides, over HTTP, which use the STUN and TURN servers that the server names. A server needs [Peer.Answer] for POST, [Peer.Patch] for PATCH and [Peer.Close] for DELETE.
package rtc
