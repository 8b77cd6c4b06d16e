// Package console holds the web console, a page that lists what is live and plays it with our own browser client.
// The page imports its client from js/, relative to where it is served itself:
//
//	mux.Handle("GET /", http.FileServerFS(console.Files))
//	mux.Handle("GET /js/", http.StripPrefix("/js/", http.FileServerFS(js.Files)))
//
// It needs nothing from elsewhere and runs under the policy that Policy states.
package console

import (
	"embed"
	"io/fs"
)

//go:embed *.html *.js *.css *.svg
var files embed.FS

// Files holds the page at its root: index.html and what it loads.
// It is read only and may be used from several goroutines at once.
var Files fs.FS = files

// Policy is the Content-Security-Policy under which the page runs: nothing from other hosts, no inline script or style,
// video through a MediaSource (blob:), a picture that stands in for it while its source changes (blob:), and the session's WebSocket (ws: and wss:, since a page may name another server).
const Policy = "default-src 'self'; media-src blob:; img-src 'self' blob:; connect-src 'self' ws: wss:; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
