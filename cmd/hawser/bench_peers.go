package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// nginxModules are where Debian puts the modules of nginx.
const nginxModules = "/usr/lib/nginx/modules"

// nginxContender is nginx with its rtmp module (Debian: nginx and libnginx-mod-rtmp), if it is installed, with the settings that it has by itself.
func nginxContender() (contender, bool) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx"
	}
	module := filepath.Join(nginxModules, "ngx_rtmp_module.so")
	for _, file := range []string{program, module} {
		if _, err := os.Stat(file); err != nil {
			return contender{}, false
		}
	}
	return contender{name: "nginx", bare: "bare-40ms", open: reads(dialRTMP, aliveRTMP), start: func(ctx context.Context, _ *benchOptions) (*child, string, string, error) {
		return startPeer(ctx, func(dir, addr string) (*exec.Cmd, error) {
			file := filepath.Join(dir, "nginx.conf")
			err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, module, dir, addr), 0o600)
			return exec.CommandContext(ctx, program, "-p", dir, "-c", file), err
		})
	}}, true
}

// nginxConfig is for one process; its modules, folder and address are to be put in.
const nginxConfig = `load_module %s;
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid %s/pid;
error_log stderr error;
events { worker_connections 18000; }
rtmp {
	access_log off;
	server {
		listen %s;
		chunk_size 65536;
		application live { live on; wait_key on; }
	}
}
`

// lalContender is lal, a media server in Go, if its program lalserver is in PATH; docs/benchmarks.md says how to build it.
func lalContender() (contender, bool) {
	program, err := exec.LookPath("lalserver")
	if err != nil {
		return contender{}, false
	}
	return contender{name: "lal", bare: "bare", open: reads(dialRTMP, aliveRTMP), start: func(ctx context.Context, _ *benchOptions) (*child, string, string, error) {
		return startPeer(ctx, func(dir, addr string) (*exec.Cmd, error) {
			file := filepath.Join(dir, "lal.json")
			err := os.WriteFile(file, fmt.Appendf(nil, lalConfig, addr, filepath.Join(dir, "log")), 0o600)
			cmd := exec.CommandContext(ctx, program, "-c", file)
			cmd.Dir = dir
			return cmd, err
		})
	}}, true
}

// lalConfig is RTMP alone, as lal has it by itself but for what late viewers get: the pictures since the last keyframe, as from hawser. Its address and log are to be put in.
const lalConfig = `{
	"conf_version": "v0.4.1",
	"rtmp": {"enable": true, "addr": %q, "gop_num": 1, "single_gop_max_frame_num": 0, "merge_write_size": 0},
	"log": {"level": 4, "filename": %q, "is_to_stdout": false, "is_rotate_daily": false}
}
`

// startPeer starts another's server with a folder of its own, and waits until it listens.
func startPeer(ctx context.Context, command func(dir, addr string) (*exec.Cmd, error)) (p *child, addr, publish string, err error) {
	dir, err := os.MkdirTemp("", "hawser-bench-")
	if err != nil {
		return nil, "", "", err
	}
	if p, addr, err = startPeerIn(ctx, dir, command); err != nil {
		os.RemoveAll(dir)
		return nil, "", "", err
	}
	p.dir = dir
	return p, addr, addr, nil
}

func startPeerIn(ctx context.Context, dir string, command func(dir, addr string) (*exec.Cmd, error)) (*child, string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := ln.Addr().String()
	ln.Close() // it cannot be given a socket, nor choose a port
	cmd, err := command(dir, addr)
	if err != nil {
		return nil, "", err
	}
	cmd.Stderr = os.Stderr
	p, err := startProgram(cmd)
	if err != nil {
		return nil, "", err
	}
	for range 100 {
		conn, err := dialBare(ctx, addr)
		if err == nil {
			conn.Close()
			return p, addr, nil
		}
		pause(ctx, 50*time.Millisecond)
	}
	p.stop()
	return nil, "", fmt.Errorf("%s does not listen on %s", filepath.Base(cmd.Path), addr)
}
