package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	httpsLine = regexp.MustCompile(`(?m)^hawser: http on https://([^\s/]+)`)
	rtmpsLine = regexp.MustCompile(`(?m)^hawser: rtmp on rtmps://([^\s/]+)`)
)

// writeCertificate makes a certificate of this machine, signed by itself, and puts it and its key into a folder, each at once.
func writeCertificate(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "hawser test"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{keyFile: {Type: "PRIVATE KEY", Bytes: private}, certFile: {Type: "CERTIFICATE", Bytes: cert}} {
		put(t, name, pem.EncodeToMemory(block))
	}
	return certFile, keyFile
}

// put replaces a file at once.
func put(t *testing.T, name string, b []byte) {
	t.Helper()
	err := os.WriteFile(name+".new", b, 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTLS publishes over RTMPS, and plays over RTMPS, HTTP-FLV and sessions over TLS with programs of others and our own; then the certificate is replaced while the server runs.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, 1)
	s := serve(t, "--https", "127.0.0.1:0", "--rtmps", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	var https, rtmps string
	for pattern, addr := range map[*regexp.Regexp]*string{httpsLine: &https, rtmpsLine: &rtmps} {
		m, err := s.out.await(t.Context(), pattern)
		if err != nil {
			t.Fatalf("%v\n%s", err, s.out)
		}
		*addr = m[1]
	}
	const path = "/live/secret"
	start(t, "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", clip(t, seconds), "-c", "copy", "-f", "flv", "rtmps://"+rtmps+path)
	s.awaitLive(path)
	for _, from := range []string{"rtmps://" + rtmps + path, "https://" + https + path + ".flv"} {
		// ffmpeg ends by itself once it has so many frames of each kind.
		out := start(t, "ffmpeg", "-v", "info", "-i", from, "-map", "0:v", "-map", "0:a", "-frames:v", "30", "-frames:a", "30", "-f", "null", "-").wait()
		if !strings.Contains(out, "frame=   30") {
			t.Errorf("%s: ffmpeg says\n%s", from, out)
		}
	}
	var a struct{ Before, After pageStats }
	browse(t, s, "play", map[string]any{"url": "https://" + https + "/", "path": path, "ms": 2000}).answer(&a)
	if a.After.FramesPresented <= a.Before.FramesPresented || a.After.PlayerState != "playing" {
		t.Errorf("the page over TLS: before %+v, after %+v", a.Before, a.After)
	}
	own := func(args ...string) string {
		cmd := exec.Command(executable, args...)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+cert)
		return startCmd(t, cmd).wait()
	}
	if out := own("watch", "--for", "3s", "--no-media", "https://"+https+path); !strings.Contains(out, "logged_in wss://"+https) {
		t.Errorf("watch says\n%s", out)
	}
	own("publish", "--rtmp", "rtmps://"+rtmps, "/live/other", clip(t, seconds))

	serial := func() int64 {
		conn, err := tls.Dial("tcp", https, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	// shows makes handshakes, which look at the files, until something is so.
	shows := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(eventTimeout); !ok(); time.Sleep(pollInterval) {
			if time.Now().After(end) {
				t.Fatalf("not in %v: %s", eventTimeout, what)
			}
		}
	}
	put(t, cert, []byte("nonsense"))
	shows("a certificate that is not taken", func() bool {
		return serial() == 1 && slices.ContainsFunc(s.events(), func(e event) bool { return e.Kind == "reload" && e.Protocol == "tls" && e.Light == "amber" })
	})
	writeCertificate(t, dir, 2)
	shows("the new certificate", func() bool { return serial() == 2 })
	if live, ok := s.stream(path); !ok || live.Status != "live" {
		t.Errorf("the stream is %+v after the change", live)
	}
}
