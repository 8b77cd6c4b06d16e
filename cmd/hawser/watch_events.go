package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"hawser/lifecycle"
)

// events prints the event log of a server, from what it still holds on: of all connections, streams and subjects in one order, or of what is about a path.
func (w *watcher) events(ctx context.Context, t target, token string) error {
	w.out.conns = true
	address := "http" + strings.TrimPrefix(strings.TrimSuffix(t.url, sessionPath), "ws") + "/api/v1/events?follow=1"
	body, err := openHTTP(ctx, address, token)
	if err != nil {
		return err
	}
	defer body.Close()
	w.stood = true
	for d := json.NewDecoder(body); ; {
		var e lifecycle.Event
		if err := d.Decode(&e); err != nil {
			if err == io.EOF {
				return lifecycle.ReasonLost.With("the server has closed the log")
			}
			return err
		}
		if t.path != "" && e.Path != t.path {
			continue
		}
		w.updates++
		if w.done = w.updates == w.count; !w.show(watchRecord{Event: e}) || w.done {
			return w.failed
		}
	}
}

// openHTTP opens what a GET answers. An answer other than 200 is an error, with the server's reason if it gives one.
func openHTTP(ctx context.Context, address, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if user, password, ok := strings.Cut(token, ":"); ok {
		req.SetBasicAuth(user, password)
	} else if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // its URL is told once
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var body struct{ Error lifecycle.Reason }
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&body) == nil && !body.Error.IsZero() {
		return nil, body.Error
	}
	return nil, fmt.Errorf("the answer is %s", resp.Status)
}
