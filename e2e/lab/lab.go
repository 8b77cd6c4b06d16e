// Package lab makes small networks for tests, of network namespaces on this machine, and breaks them: a server's host and a client's host with a router between them, or a line that
// delays and loses. It makes nothing but namespaces, and Close takes them away with all that runs in them. It needs Linux, root, and the programs ip and nft.
//
//	n, err := lab.New(lab.Options{})
//	if err != nil {
//		return err
//	}
//	defer n.Close()
//	server := n.Server.Command("hawser", "serve", "--http", ":8080")
//	...
//	err = n.Break(lab.NoUDP) // what was there before goes through no more
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Faults are what the router does to what it passes on: rules of nftables. They can be joined by newlines.
const (
	// NoUDP lets no UDP through.
	NoUDP = "meta l4proto udp drop"
	// NoUDPToClient loses all UDP on its way to the client.
	NoUDPToClient = `oifname "client" meta l4proto udp drop`
	// NoUDPToServer loses all UDP on its way to the server.
	NoUDPToServer = `oifname "server" meta l4proto udp drop`
	// Nothing lets nothing through, and tells nobody.
	Nothing = "drop"
)

// Options say what the network is like.
type Options struct {
	// NAT hides the client behind the router's address.
	NAT bool
	// IPv6 has it speak that and nothing else.
	IPv6 bool
	// Line, if there is one, is all that is between the two hosts; there is no router then.
	Line *Line
}

// Network is two hosts and what is between them. Its methods are called by one goroutine at a time.
type Network struct {
	// Server and Client are the two hosts.
	Server, Client *Host

	router *Host // nil with a line
	line   *line // nil with a router
}

// Missing says why there can be no networks here; "" when there can.
func Missing() string { return missing() }

var missing = sync.OnceValue(func() string {
	if os.Getuid() != 0 {
		return "network namespaces need root"
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed"
		}
	}
	name := fmt.Sprintf("%s%d-0", prefix, os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return "no right to make network namespaces: " + strings.TrimSpace(string(out))
	}
	exec.Command("ip", "netns", "del", name).Run()
	return ""
})

const prefix = "hawser-lab-" // of the names of namespaces; the number of the process and of the network follow

var networks atomic.Int64 // made by this process

// New makes a network. What a process that died has left behind is removed.
func New(o Options) (n *Network, err error) {
	sweep()
	id := fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), networks.Add(1))
	server, client := "10.77.1.1", "10.77.2.1"
	if o.IPv6 {
		server, client = "fd77:1::1", "fd77:2::1"
	}
	n = &Network{
		Server: &Host{name: id + "-server", Addr: netip.MustParseAddr(server)},
		Client: &Host{name: id + "-client", Addr: netip.MustParseAddr(client)},
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if o.Line == nil {
		n.router = &Host{name: id + "-router"}
	}
	for _, h := range n.hosts() {
		if err := shell("ip netns add "+h.name, "ip -n "+h.name+" link set lo up"); err != nil {
			return n, err
		}
		name, value := "ipv6/conf/all/disable_ipv6", "1"
		if o.IPv6 {
			name, value = "ipv6/conf/default/accept_dad", "0" // addresses are good at once
		}
		if err := h.set(name, value); err != nil {
			return n, err
		}
	}
	if o.Line != nil {
		n.line, err = o.Line.between(n.Server, n.Client)
		return n, err
	}
	return n, n.route(o.NAT)
}

func (n *Network) hosts() []*Host {
	if n.router == nil {
		return []*Host{n.Server, n.Client}
	}
	return []*Host{n.Server, n.router, n.Client}
}

// route puts the router between the hosts.
func (n *Network) route(nat bool) error {
	if err := errors.Join(n.router.set("ipv4/ip_forward", "1"), n.router.set("ipv6/conf/all/forwarding", "1")); err != nil {
		return err
	}
	var commands []string
	for _, h := range []struct {
		*Host
		port string // of the router
	}{{n.Server, "server"}, {n.Client, "client"}} {
		commands = append(commands,
			fmt.Sprintf("ip link add %s netns %s type veth peer name net0 netns %s", h.port, n.router.name, h.name),
			fmt.Sprintf("ip -n %s addr add %s dev %s", n.router.name, h.net(h.gateway()), h.port),
			fmt.Sprintf("ip -n %s link set %s up", n.router.name, h.port),
			fmt.Sprintf("ip -n %s addr add %s dev net0", h.name, h.net(h.Addr)),
			fmt.Sprintf("ip -n %s link set net0 up", h.name),
			fmt.Sprintf("ip -n %s route add default via %s", h.name, h.gateway()))
	}
	if err := shell(commands...); err != nil {
		return err
	}
	rules := "table inet lab {\n chain forward { type filter hook forward priority 0; }\n"
	if nat {
		rules += ` chain out { type nat hook postrouting priority 100; oifname "server" masquerade; }` + "\n"
	}
	return n.nft(rules + "}")
}

// Break makes the router do these faults and no others. What it has begun to let through before is not spared.
func (n *Network) Break(faults ...string) error {
	text := "flush chain inet lab forward\n"
	for _, f := range faults {
		for line := range strings.Lines(f) {
			text += "add rule inet lab forward " + strings.TrimSpace(line) + "\n"
		}
	}
	return n.nft(text)
}

// Heal ends the faults.
func (n *Network) Heal() error { return n.Break() }

func (n *Network) nft(text string) error {
	cmd := n.router.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	return run(cmd)
}

// Down takes the cable out of the client.
func (n *Network) Down() error { return shell("ip -n " + n.router.name + " link set client down") }

// Up puts it in again.
func (n *Network) Up() error { return shell("ip -n " + n.router.name + " link set client up") }

// Readdress gives the client another address in its network; the old one is gone.
func (n *Network) Readdress(addr netip.Addr) error {
	c := n.Client
	err := shell(
		fmt.Sprintf("ip -n %s addr add %s dev net0", c.name, c.net(addr)),
		fmt.Sprintf("ip -n %s addr del %s dev net0", c.name, c.net(c.Addr)),
		fmt.Sprintf("ip -n %s addr replace %s dev net0", c.name, c.net(addr)), // it may have gone as a secondary one
		fmt.Sprintf("ip -n %s route replace default via %s", c.name, c.gateway()))
	c.Addr = addr
	return err
}

// Close kills what runs on the hosts and removes them.
func (n *Network) Close() error {
	var errs []error
	if n.line != nil {
		n.line.close()
	}
	for _, h := range n.hosts() {
		errs = append(errs, h.remove())
	}
	return errors.Join(errs...)
}

// sweep removes the networks of processes that are no more.
func sweep() {
	left, _ := filepath.Glob("/run/netns/" + prefix + "*")
	for _, path := range left {
		name := filepath.Base(path)
		number, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			(&Host{name: name}).remove()
		}
	}
}

// shell runs commands one after the other; the first that fails is the last.
func shell(commands ...string) error {
	return run(exec.Command("sh", "-ec", strings.Join(commands, "\n")))
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: %q: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
