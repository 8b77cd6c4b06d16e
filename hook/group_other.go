//go:build !unix

package hook

import "os/exec"

func ownGroup(*exec.Cmd) {}

// killGroup kills the command alone: there are no process groups here.
func killGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }
