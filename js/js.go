// Package js holds the browser client and player, so that a Go program can serve them: plain ES modules that a page
// imports as they are. The same files are the npm package "hawser"; tests and package files are not embedded.
//
//	mux.Handle("GET /js/", http.StripPrefix("/js/", http.FileServerFS(js.Files)))
//
// A page then says
//
//	import { Client, Player } from "/js/index.js";
package js

import (
	"embed"
	"io/fs"
)

//go:embed *.js
var files embed.FS

// Files holds the modules at its root: index.js, client.js, player.js and those that they import.
// It is read only and may be used from several goroutines at once.
var Files fs.FS = files
