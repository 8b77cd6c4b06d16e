package websocket

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// utf8Chapter is a part of the well-known stress test for decoders of UTF-8 (Markus Kuhn's), with what RFC 3629 says of it.
type utf8Chapter struct {
	name  string
	valid bool
	texts []string
}

const greek = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5" // kosme

var utf8Chapters = []utf8Chapter{
	{"sequences", true, []string{"hello\x24world", "hello\xc2\xa2world", "hello\xe2\x82\xacworld", "hello\xf0\xa4\xad\xa2world", greek, "Hello-µ@ßöäüàá-UTF-8!!"}},
	{"first of a length", true, []string{"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80"}},
	{"first of lengths 5 and 6", false, []string{"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80"}},
	{"last of a length", true, []string{"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"}},
	{"last of lengths 4 to 6", false, []string{"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf"}},
	{"other boundaries", true, []string{"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf"}},
	{"above the last", false, []string{"\xf4\x90\x80\x80", "\xf5\x80\x80\x80"}},
	{"continuation bytes alone", false, []string{"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf", byteRange(0x80, 0xbf, "")}},
	{"start bytes alone", false, []string{byteRange(0xc0, 0xdf, " "), byteRange(0xe0, 0xef, " "), byteRange(0xf0, 0xf7, " "), byteRange(0xf8, 0xfb, " "), byteRange(0xfc, 0xfd, " ")}},
	{"last byte missing", false, append([]string{strings.Join(utf8Halves, "")}, utf8Halves...)},
	{"impossible bytes", false, []string{"\xfe", "\xff", "\xfe\xfe\xff\xff"}},
	{"overlong slash", false, []string{"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf"}},
	{"longest overlong", false, []string{"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf"}},
	{"overlong NUL", false, []string{"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80"}},
	{"surrogates", false, []string{"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf"}},
	{"pairs of surrogates", false, []string{"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xad\xbf\xed\xbf\xbf", "\xed\xae\x80\xed\xb0\x80",
		"\xed\xae\x80\xed\xbf\xbf", "\xed\xaf\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf"}},
	{"noncharacters", true, noncharacters()},
	{"specials", true, []string{"\ufff9", "\ufffa", "\ufffb", "\ufffc", "\ufffd", "\ufffe", "\uffff", "\ufeff"}},
}

// utf8Halves are sequences that lack their last byte, of right and wrong ones.
var utf8Halves = []string{"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf"}

func byteRange(from, to byte, between string) string {
	var b strings.Builder
	for c := int(from); c <= int(to); c++ {
		b.WriteByte(byte(c))
		b.WriteString(between)
	}
	return b.String()
}

// noncharacters are legal in UTF-8, whatever they are good for.
func noncharacters() []string {
	list := []string{"\ufdd0", "\ufdef"}
	for plane := rune(0); plane <= 16; plane++ {
		list = append(list, string(plane<<16|0xfffe), string(plane<<16|0xffff))
	}
	return list
}

// RFC 6455 section 8.1, with RFC 3629. What is invalid is refused without waiting for the end of the message, or even of the frame.
func TestConformanceUTF8(t *testing.T) {
	bad := fails(CloseInvalidData)
	var list []dialogue
	for _, chapter := range utf8Chapters {
		for i, s := range chapter.texts {
			if utf8.ValidString(s) != chapter.valid {
				t.Fatalf("%s: %q is in the wrong place", chapter.name, s)
			}
			hear := bad
			if chapter.valid {
				hear = text(s)
			}
			name := fmt.Sprintf("%s %d", chapter.name, i+1)
			list = append(list, talk(name, []frame{text(s)}, hear), talk(name+" in fragments of 1", cut(OpText, s, 1), hear))
			if at := firstBad(s); at >= 0 {
				list = append(list, failsFast(name, greek+s+"edited", len(greek)+at)...)
			}
		}
	}
	for n := 1; n <= len(greek); n++ {
		hear := bad
		if utf8.ValidString(greek[:n]) {
			hear = text(greek[:n])
		}
		list = append(list, talk(fmt.Sprintf("prefix of %d", n), []frame{text(greek[:n])}, hear), talk(fmt.Sprintf("prefix of %d in fragments", n), cut(OpText, greek[:n], 1), hear))
	}
	converse(t, list)
}

// failsFast says a text only as far as the byte that spoils it, and must be refused although the message, or the frame, goes on.
func failsFast(name, s string, spoils int) []dialogue {
	hear := []frame{fails(CloseInvalidData)}
	begun := func(upTo int) func(bool) []byte {
		return func(masked bool) []byte {
			whole := text(s).bytes(masked)
			return whole[:len(whole)-len(s)+upTo]
		}
	}
	return []dialogue{
		{name: name + " in the second fragment", turns: []turn{
			{say: []frame{start(OpText, s[:spoils]), ping("")}, hear: []frame{pong("")}},
			{say: []frame{middle(s[spoils : spoils+1])}, hear: hear}}},
		{name: name + " within the second fragment", turns: []turn{
			{say: []frame{start(OpText, s[:len(greek)]), ping("")}, hear: []frame{pong("")}},
			{raw: func(masked bool) []byte {
				b := middle(s[len(greek):]).bytes(masked)
				return b[:len(b)-len(s)+spoils+1]
			}, hear: hear}}},
		{name: name + " within the frame", turns: []turn{{raw: begun(spoils + 1), hear: hear}}},
	}
}

// A long text in which one byte is wrong, at places around every boundary that matters to fast validators, and in every script.
func TestConformanceUTF8Long(t *testing.T) {
	var list []dialogue
	for _, unit := range []string{"abcdefgh", "Привет, мир! ", "日本語テキスト", "😀😃😄", "aé日😀"} {
		s := strings.Repeat(unit, 5000/len(unit)+1)
		list = append(list, talk(unit, []frame{text(s)}, text(s)), talk(unit+" in fragments of 7", cut(OpText, s, 7), text(s)))
		for _, at := range []int{0, 1, 31, 32, 33, 127, 1000, len(s) - 1} {
			spoilt := s[:at] + "\xff" + s[at+1:]
			list = append(list, talk(fmt.Sprintf("%s spoilt at %d", unit, at), []frame{text(spoilt)}, fails(CloseInvalidData)))
		}
	}
	list = append(list, talk("binary is not looked at", []frame{binary_("\xff\xfe\xed\xa0\x80")}, binary_("\xff\xfe\xed\xa0\x80")),
		talk("ping is not looked at", []frame{ping("\xff\xfe")}, pong("\xff\xfe")),
		talk("character across a ping", []frame{start(OpText, "\xe2\x82"), ping("\xac"), last("\xac")}, pong("\xac"), text("€")),
		talk("halves do not join across messages", []frame{text("\xe2\x82"), text("\xac")}, fails(CloseInvalidData)),
		talk("a half before the next message", []frame{start(OpText, "a\xe2\x82"), last("")}, fails(CloseInvalidData)))
	converse(t, list)
}
