package rtmp

import (
	"fmt"
	"maps"
	"net/url"
	"strings"
	"unicode/utf8"

	"hawser/amf"
	"hawser/lifecycle"
)

// MaxPath is the longest path in bytes.
const MaxPath = 255

// appOf is the application of connect's object: app, or where that is not said what tcUrl has for it.
func appOf(object amf.Object) string {
	app := object.String("app")
	if object.Get("app") == nil {
		if u, err := url.Parse(object.String("tcUrl")); err == nil {
			app = u.Path
		}
	}
	app, _, _ = strings.Cut(app, "?")
	return strings.Trim(app, "/")
}

// joinPath builds the path "/" + app + "/" + name. Clients cut one URL in different ways (ffmpeg takes up to two
// segments as the application, GStreamer all but the last, OBS what the person typed), so only the whole counts. Either
// part may carry a query, which is not part of the path, and the name may carry Flash's type prefix (mp4:, flv:, mp3:).
func joinPath(app, name string) (string, error) {
	app, _, _ = strings.Cut(app, "?")
	name, _, _ = strings.Cut(name, "?")
	for _, prefix := range []string{"mp4:", "flv:", "mp3:"} {
		name = strings.TrimPrefix(name, prefix)
	}
	path := ""
	for _, part := range []string{app, name} {
		if part = strings.Trim(part, "/"); part != "" {
			path += "/" + part
		}
	}
	return path, checkPath(path)
}

func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/") || len(path) < 2:
		return fmt.Errorf("rtmp: path %q: no stream name", path)
	case len(path) > MaxPath:
		lifecycle.CountReached("rtmp.MaxPath")
		return fmt.Errorf("rtmp: path of %d bytes: longer than %d", len(path), MaxPath)
	case !utf8.ValidString(path):
		return fmt.Errorf("rtmp: path %q: not UTF-8", path)
	}
	for _, c := range path {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("rtmp: path %q: has a control character", path)
		}
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == ".." || segment == "." {
			return fmt.Errorf("rtmp: path %q: has a segment %q", path, segment)
		}
	}
	return nil
}

// joinQuery collects the queries of the parts, the later ones first in precedence.
func joinQuery(parts ...string) url.Values {
	all := url.Values{}
	for _, part := range parts {
		if _, query, ok := strings.Cut(part, "?"); ok {
			values, _ := url.ParseQuery(query) // what can be read of it
			maps.Copy(all, values)
		}
	}
	return all
}

// redirected returns where a client of the URL goes that a server sends to another tcUrl: the stream's name and its query stay.
func redirected(u *url.URL, to string) (string, error) {
	app, name := splitURL(u)
	name, _, _ = strings.Cut(name, "?")
	next, err := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + app}).Parse(to)
	switch {
	case err != nil:
		return "", lifecycle.ReasonBadRequest.With("a redirect that is no URL")
	case next.Scheme != "rtmp" && next.Scheme != "rtmps" || next.Host == "":
		return "", lifecycle.ReasonUnsupported.With("a redirect to %s://%s", next.Scheme, next.Host)
	case next.Scheme == "rtmp" && u.Scheme == "rtmps":
		return "", lifecycle.ReasonRefused.With("a redirect from rtmps to rtmp://%s is not followed", next.Host)
	}
	if next.Path = strings.Trim(next.Path, "/"); next.Path == "" {
		next.Path = app
	}
	next.Path, next.RawPath = strings.TrimSuffix("/"+next.Path+"/"+name, "/"), ""
	next.RawQuery = strings.Trim(next.RawQuery+"&"+u.RawQuery, "&")
	return next.String(), nil
}

// splitURL cuts a URL's path for a client as most servers expect it: the last segment is the stream's name.
func splitURL(u *url.URL) (app, name string) {
	path := strings.Trim(u.Path, "/")
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		app, name = path[:i], path[i+1:]
	} else {
		app = path
	}
	if u.RawQuery != "" {
		name += "?" + u.RawQuery
	}
	return app, name
}

// shown is a URL as it may be shown: a query and a password are secrets.
func shown(rawURL string) string {
	bare, _, _ := strings.Cut(rawURL, "?")
	if u, err := url.Parse(bare); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	return bare
}
