package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"hawser/lifecycle"
)

// certificateLook is how often at most it is looked whether a certificate's files have changed.
const certificateLook = time.Second

// tlsFlags are the addresses that speak TLS, and their certificate.
type tlsFlags struct{ certFile, keyFile, https, rtmps string }

func (t *tlsFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&t.https, "https", "", "address for the same as --http, over TLS; empty is off")
	c.Flags().StringVar(&t.rtmps, "rtmps", "", "address for RTMP over TLS; empty is off")
	c.Flags().StringVar(&t.certFile, "tls-cert", "", "PEM file with the certificate for --https and --rtmps, and those between it and the authority; read again when it changes")
	c.Flags().StringVar(&t.keyFile, "tls-key", "", "PEM file with the key of --tls-cert")
}

// certificate reads what the flags name; nil where nothing speaks TLS.
func (t *tlsFlags) certificate() (*certificate, error) {
	listens, given := t.https != "" || t.rtmps != "", t.certFile != "" || t.keyFile != ""
	switch {
	case !listens && !given:
		return nil, nil
	case !listens:
		return nil, errors.New("--tls-cert and --tls-key are for --https and --rtmps, and there is neither")
	case t.certFile == "" || t.keyFile == "":
		return nil, errors.New("--https and --rtmps need --tls-cert and --tls-key")
	}
	c := &certificate{files: [2]string{t.certFile, t.keyFile}}
	if _, err := c.get(nil); err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

// certificate is one that is read again when its files change. A change that makes no sense is told once, and what was read before stays.
type certificate struct {
	files [2]string // certificate and key
	log   *lifecycle.Log

	mu      sync.Mutex
	now     *tls.Certificate
	changed [2]time.Time // of the files, when they were read
	looked  time.Time
}

// get is for tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil && time.Since(c.looked) < certificateLook {
		return c.now, nil
	}
	c.looked = time.Now()
	var changed [2]time.Time
	for i, name := range c.files {
		info, err := os.Stat(name)
		if err == nil {
			changed[i] = info.ModTime()
		} else if c.now == nil {
			return nil, err
		}
	}
	if c.now != nil && changed == c.changed {
		return c.now, nil
	}
	c.changed = changed
	read, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if c.now == nil && err != nil {
		return nil, err
	}
	e := lifecycle.Event{Kind: kindReload, Protocol: "tls", Side: lifecycle.Server, Light: lifecycle.Green}
	if err != nil {
		e.Light, e.Reason = lifecycle.Amber, lifecycle.ReasonBadRequest.Because(err)
	}
	if c.now != nil && c.log != nil {
		c.log.Add(e)
	}
	if err == nil {
		c.now = &read
	}
	return c.now, nil
}

// config is for a listener that speaks some protocols under TLS. HTTP/2 is not among them: it has no connection that HTTP-FLV could write to for itself.
func (c *certificate) config(protocols ...string) *tls.Config {
	return &tls.Config{GetCertificate: c.get, NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

// tlsListener is a listener that speaks TLS. Its address is not that of a port without.
type tlsListener struct{ net.Listener }

type tlsAddr struct{ net.Addr }

func (l tlsListener) Addr() net.Addr { return tlsAddr{l.Listener.Addr()} }

// joined takes connections from several listeners.
type joined struct {
	list  []net.Listener
	came  chan accepted
	over  chan struct{}
	close sync.Once
}

type accepted struct {
	conn net.Conn
	err  error
}

// join makes one listener of those that there are, which has the address of the first; nil of none.
func join(list ...net.Listener) net.Listener {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	j := &joined{list: list, came: make(chan accepted), over: make(chan struct{})}
	for _, l := range list {
		go j.take(l)
	}
	return j
}

// take passes on what comes from a listener, until that is closed.
func (j *joined) take(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case j.came <- accepted{conn, err}:
		case <-j.over:
			if err == nil {
				conn.Close()
			}
			return
		}
	}
}

// Accept implements net.Listener.
func (j *joined) Accept() (net.Conn, error) {
	select {
	case a := <-j.came:
		return a.conn, a.err
	case <-j.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (j *joined) Close() error {
	var errs []error
	j.close.Do(func() {
		close(j.over)
		for _, l := range j.list {
			errs = append(errs, l.Close())
		}
	})
	return errors.Join(errs...)
}

// Addr implements net.Listener.
func (j *joined) Addr() net.Addr { return j.list[0].Addr() }
