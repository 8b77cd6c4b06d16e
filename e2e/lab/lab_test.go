package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func network(t *testing.T, o Options) *Network {
	t.Helper()
	if why := Missing(); why != "" {
		t.Skip(why)
	}
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob("/run/netns/" + n.Client.name); left != nil {
			t.Errorf("%s is left", left)
		}
	})
	return n
}

// echo sends numbers back over UDP on the server's host, and says from whom.
const echo = `
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 7))
print("ready", flush=True)
while True:
    b, a = s.recvfrom(2000)
    s.sendto(b + b" " + a[0].removeprefix("::ffff:").encode(), a)
`

// echoing starts the echo and connects to it from the client.
func echoing(t *testing.T, n *Network) net.Conn {
	t.Helper()
	cmd := n.Server.Command("python3", "-c", echo)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	c, err := n.Client.Dial(t.Context(), "udp", netip.AddrPortFrom(n.Server.Addr, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const patience = 300 * time.Millisecond

// ask returns what the echo says, "" for nothing, and after how long.
func ask(t *testing.T, c net.Conn, word string) (string, time.Duration) {
	t.Helper()
	began := time.Now()
	c.Write([]byte(word))
	b := make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(patience))
	n, _ := c.Read(b)
	return string(b[:n]), time.Since(began)
}

func TestFaults(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	n := network(t, Options{})
	c := echoing(t, n)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(word, want string) {
		t.Helper()
		if got, _ := ask(t, c, word); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
	expect("whole", "whole 10.77.2.1")
	for _, fault := range []string{NoUDP, NoUDPToClient, NoUDPToServer, Nothing} {
		must(n.Break(fault))
		expect(fault, "")
	}
	must(n.Heal())
	expect("healed", "healed 10.77.2.1")
	must(n.Down())
	expect("down", "")
	must(n.Up())
	for got := ""; got == ""; got, _ = ask(t, c, "up") { // the carrier takes its time
	}
	must(n.Readdress(netip.MustParseAddr("10.77.2.9")))
	other, err := n.Client.Dial(t.Context(), "udp", n.Server.Addr.String()+":7")
	must(err)
	c.Close()
	c = other
	expect("moved", "moved 10.77.2.9")
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if c, err := n.Client.Dial(ctx, "tcp", "10.77.1.1:7"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("TCP to a closed port: %v, %v, want it to be refused", c, err)
	}
}

func TestIPv6(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	c := echoing(t, network(t, Options{IPv6: true}))
	got := ""
	for got == "" { // the neighbours take their time
		got, _ = ask(t, c, "six")
	}
	if got != "six fd77:2::1" {
		t.Errorf("got %q", got)
	}
}

func TestNAT(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	if got, _ := ask(t, echoing(t, network(t, Options{NAT: true})), "hidden"); got != "hidden 10.77.1.254" {
		t.Errorf("got %q, want the router's address", got)
	}
}

func TestLine(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	const delay, loss, packets = 50 * time.Millisecond, 0.2, 200
	c := echoing(t, network(t, Options{Line: &Line{Delay: delay, Loss: loss, Seed: 1}}))
	for { // until one comes through
		if got, took := ask(t, c, "one"); got != "" {
			if took < 2*delay {
				t.Errorf("there and back took %v, want more than %v", took, 2*delay)
			}
			break
		}
	}
	for range packets {
		c.Write([]byte("many"))
	}
	came := 0
	for b := make([]byte, 100); ; came++ {
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(b); err != nil {
			break
		}
	}
	if want := packets * (1 - loss) * (1 - loss); float64(came) < want-35 || float64(came) > want+35 {
		t.Errorf("%d of %d came back, want about %.0f", came, packets, want)
	}
}
