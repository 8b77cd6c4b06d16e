package main

import (
	"reflect"
	"testing"

	"github.com/spf13/cobra"

	"hawser/rtc"
)

func TestRTCFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want *rtc.Options // nil: off
		err  string
	}{
		{nil, &rtc.Options{UDP: ":8189", TCP: ":8189"}, ""},
		{[]string{"--rtc", ""}, nil, ""},
		{[]string{"--rtc", "127.0.0.1:0"}, &rtc.Options{UDP: "127.0.0.1:0", TCP: "127.0.0.1:0", Loopback: true}, ""},
		{[]string{"--rtc", "", "--rtc-tcp", "[::1]:9"}, &rtc.Options{UDP: "-", TCP: "[::1]:9", Loopback: true}, ""},
		{[]string{"--rtc-tcp", "", "--rtc-lite", "--rtc-announce", "192.0.2.1,2001:db8::1"}, &rtc.Options{UDP: ":8189", Lite: true, Announce: []string{"192.0.2.1", "2001:db8::1"}}, ""},
		{[]string{"--rtc-stun", "stun.example.org:3478", "--rtc-turn", "ann:p@ss@turn.example.org:3478?transport=tcp"}, &rtc.Options{UDP: ":8189", TCP: ":8189", ICEServers: []rtc.ICEServer{
			{URLs: []string{"stun:stun.example.org:3478"}}, {URLs: []string{"turn:turn.example.org:3478?transport=tcp"}, Username: "ann", Credential: "p@ss"}}}, ""},
		{[]string{"--rtc-turn", "turn.example.org"}, nil, "--rtc-turn: want USER:PASSWORD@HOST:PORT"},
		{[]string{"--rtc-announce", "example.org"}, nil, "--rtc-announce example.org: want an IP address"},
	} {
		var o rtcFlags
		cmd := &cobra.Command{}
		o.add(cmd)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		got, err := o.options()
		if text := ""; err != nil {
			if text = err.Error(); text != c.err {
				t.Errorf("%q: %s, want %q", c.args, text, c.err)
			}
		} else if c.err != "" || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, want %+v %s", c.args, got, c.want, c.err)
		}
	}
}
