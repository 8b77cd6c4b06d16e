//go:build !race

package websocket

// raceEnabled says that the test runs under the race detector, where everything is several times slower.
const raceEnabled = false
