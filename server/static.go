package server

import (
	"io/fs"
	"net/http"
)

// staticFiles serves the console's or the client's files under a prefix. They are part of the program, so a browser asks each time whether they are still the same ones.
func staticFiles(prefix string, files fs.FS, policy string) http.Handler {
	serve := http.StripPrefix(prefix, http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if policy != "" {
			h.Set("Content-Security-Policy", policy)
		} else {
			h.Set("Access-Control-Allow-Origin", "*") // pages of other hosts may import the client
		}
		serve.ServeHTTP(w, r)
	})
}
