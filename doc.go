// Package hawser is the root of the module and holds no code; ARCHITECTURE.md says where things are. Start with
// hawser/client to use a server, with hawser/server to run one inside a program, or with a protocol alone:
//
//	import "hawser/rtmp"
package hawser
