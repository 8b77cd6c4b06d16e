#!/bin/sh
# Looks for the programs that the tests run against Hawser. On Debian as root it installs those that are missing;
# anywhere else it says what is missing, and the tests that need them skip themselves by name.
set -u

# One line a need: the command (or file:PATH, gst:ELEMENT, python:MODULE, typelib:NAME=VERSION), then the Debian packages that bring it.
needs='
gcc gcc libc6-dev
node nodejs
npm npm
ffmpeg ffmpeg
ffprobe ffmpeg
chromium chromium
rtmpdump rtmpdump
nginx nginx
file:/usr/lib/nginx/modules/ngx_rtmp_module.so libnginx-mod-rtmp
curl curl
cvlc vlc-bin vlc-plugin-base
obs obs-studio libgl1-mesa-dri
Xvfb xvfb
gst-launch-1.0 gstreamer1.0-tools
gst:flvmux gstreamer1.0-plugins-good
gst:videotestsrc gstreamer1.0-plugins-base
gst:rtmp2sink gstreamer1.0-plugins-bad
gst:x264enc gstreamer1.0-plugins-ugly
gst:avenc_aac gstreamer1.0-libav
python:websockets python3-websockets
typelib:Soup=3.0 python3-gi gir1.2-soup-3.0
ip iproute2
nft nftables
turnserver coturn
firefox-esr firefox-esr
python:aiortc python3-aiortc
gst:nicesink gstreamer1.0-nice
gst:opusenc gstreamer1.0-plugins-base
typelib:GstWebRTC=1.0 python3-gst-1.0 gir1.2-gst-plugins-bad-1.0
'

has() {
	case $1 in
	gst:*) gst-inspect-1.0 "${1#gst:}" >/dev/null 2>&1 ;;
	file:*) [ -e "${1#file:}" ] ;;
	python:*) /usr/bin/python3 -c "import ${1#python:}" 2>/dev/null ;;
	typelib:*) echo "${1#typelib:}" | sed "s/\(.*\)=\(.*\)/import gi; gi.require_version('\1', '\2')/" | /usr/bin/python3 - 2>/dev/null ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# lacking prints the first word of each need that is not met, or all but the first when asked for packages.
lacking() {
	echo "$needs" | while read -r what packages; do
		[ -z "$what" ] || has "$what" || case $1 in names) echo "$what" ;; packages) echo "$packages" ;; esac
	done | tr '\n' ' '
}

missing=$(lacking packages)
[ -n "$missing" ] || exit 0
if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "installing for the tests: $missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null &&
		# shellcheck disable=SC2086 # one word a package
		apt-get install -q -y --no-install-recommends $missing >/dev/null
fi
missing=$(lacking names)
[ -z "$missing" ] || echo "missing: $missing(the tests that need them are skipped)"
exit 0
