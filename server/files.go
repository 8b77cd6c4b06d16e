package server

import (
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/record"
)

const (
	// filesPrefix is where recorded files are.
	filesPrefix = "/recordings/"
	// maxListed bounds one answer with a list of recorded files.
	maxListed = 1000
	// fileChunk is how many bytes of a file a client must take within WriteTimeout.
	fileChunk = 256 << 10
)

// fileTypes are the media types of recorded files, by their endings.
var fileTypes = map[string]string{".flv": flvType, ".mp4": "video/mp4"}

// listedFile is a recorded file and where it can be had.
type listedFile struct {
	record.File
	URL string `json:"url"`
}

// fileList is an answer with recorded files.
type fileList struct {
	Files []listedFile `json:"files"`
	More  bool         `json:"more"`
}

// listFiles lists recorded files by name: ?path= those of one stream, ?after= those behind a name, ?limit= at most so many (1000). "more" says that there are others.
func (s *Server) listFiles(w http.ResponseWriter, r *http.Request) {
	s.allowOrigin(w, r)
	who, err := s.identifyRequest(r)
	if err != nil {
		s.refuseRequest(w, r, auth.Play, r.URL.Path, lifecycle.ReasonOf(err))
		return
	}
	q := r.URL.Query()
	limit := maxListed
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			s.httpError(w, lifecycle.ReasonBadRequest.With("limit %q: want a number from 1 on", text))
			return
		}
		limit = min(n, maxListed)
	}
	list := fileList{Files: []listedFile{}}
	if s.opts.Record.Dir != "" {
		files, more, err := s.recorder.Folder().List(q.Get("path"), q.Get("after"), limit)
		if err != nil {
			s.httpError(w, lifecycle.ReasonOf(err))
			return
		}
		list.More = more
		for _, f := range files {
			if permit(who, auth.Play, filesPrefix+f.Name) != nil {
				continue
			}
			list.Files = append(list.Files, listedFile{f, (&url.URL{Path: filesPrefix + f.Name}).EscapedPath()})
		}
	}
	writeJSON(w, list)
}

// serveFile sends a recorded file, or ranges of it (RFC 9110 section 14). One that is being written ends behind what is whole of it
// when the request comes.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	s.allowOrigin(w, r)
	name := r.PathValue("name")
	if _, ok := s.allowed(w, r, auth.Play, filesPrefix+name); !ok {
		return
	}
	file, err := s.recorder.Folder().Open(name)
	if err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	w.Header().Set("Content-Type", fileTypes[path.Ext(name)])
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	out := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w), timeout: s.opts.WriteTimeout}
	defer out.control.SetWriteDeadline(time.Time{})
	var content io.ReadSeeker = file
	if whole, writing := s.recorder.Folder().Whole(name); writing {
		content = io.NewSectionReader(file, 0, whole)
	}
	http.ServeContent(out, r, "", info.ModTime(), content)
}

// allowOrigin tells a browser that a page of an allowed origin may read the answer; the others did not come so far (sameOrigin).
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Range, Content-Length")
	}
}

// patientWriter gives a client a deadline for each part of a file, however long the whole takes.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) Write(b []byte) (int, error) {
	w.control.SetWriteDeadline(time.Now().Add(w.timeout))
	return w.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom, so that the system sends files by itself; for that it wants to see the file behind one limit, not two.
func (w *patientWriter) ReadFrom(src io.Reader) (sent int64, err error) {
	left, limited := src.(*io.LimitedReader)
	for {
		part := io.LimitedReader{R: src, N: fileChunk}
		if limited {
			if part.R, part.N = left.R, min(left.N, fileChunk); part.N <= 0 {
				return sent, nil
			}
		}
		w.control.SetWriteDeadline(time.Now().Add(w.timeout))
		n, err := io.Copy(w.ResponseWriter, &part)
		sent += n
		if limited {
			left.N -= n
		}
		if err != nil || part.N > 0 {
			return sent, err
		}
	}
}
