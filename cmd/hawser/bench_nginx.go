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
	return contender{name: "nginx", bare: "bare-40ms", open: openRTMP, start: func(ctx context.Context, _ *benchOptions) (*child, string, string, error) {
		p, addr, err := startNginx(ctx, program, module)
		return p, addr, addr, err
	}}, true
}

// startNginx starts nginx with one process and a configuration of its own.
func startNginx(ctx context.Context, program, module string) (*child, string, error) {
	dir, err := os.MkdirTemp("", "hawser-bench-nginx-")
	if err != nil {
		return nil, "", err
	}
	p, addr, err := startNginxIn(ctx, dir, program, module)
	if err != nil {
		os.RemoveAll(dir)
		return nil, "", err
	}
	p.dir = dir
	return p, addr, nil
}

// startNginxIn starts it with its files in a folder.
func startNginxIn(ctx context.Context, dir, program, module string) (*child, string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := ln.Addr().String()
	ln.Close() // nginx cannot be given a socket, nor choose a port
	config := fmt.Sprintf(`load_module %s;
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
`, module, dir, addr)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, program, "-p", dir, "-c", file)
	cmd.Stderr = os.Stderr
	p, err := startProgram(cmd)
	if err != nil {
		return nil, "", err
	}
	for range 100 {
		conn, err := openBare(ctx, addr)
		if err == nil {
			conn.Close()
			return p, addr, nil
		}
		pause(ctx, 50*time.Millisecond)
	}
	p.stop()
	return nil, "", fmt.Errorf("nginx does not listen on %s", addr)
}
